//! The macro behind the table of messages: of each line it makes a type, its parser and
//! the list of its fields.

/// Each line is a field: whether a one-line summary shows it, its name (and, if
/// Rust has taken that, the protocol's name), its type, and how it stands in the
/// message; `after` names the count in front of it.
macro_rules! messages {
    ($(
        $(#[$doc:meta])*
        $name:ident $(<$lt:lifetime>)? {
            $(
                $(#[$field_doc:meta])*
                $how:ident $field:ident $(= $wire:literal)? : $type:ty [$shape:ident $(in $when:ident)?]
                $(after $count_how:ident $count:literal [$count_shape:ident])?
            ),* $(,)?
        }
    )*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, PartialEq, Eq, Debug)]
            pub struct $name $(<$lt>)? {
                $(
                    $(#[$field_doc])*
                    pub $field: $type,
                )*
            }
        )*

        /// What a message says, behind size, type and tag.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[non_exhaustive]
        pub enum Body<'a> {
            $(
                $(#[$doc])*
                $name($name $(<$lt>)?),
            )*
        }

        /// Reads the body of a message of this kind; `None` if 9P has no such kind.
        #[inline]
        pub(super) fn parse<'a>(
            kind: MessageType,
            input: &'a [u8],
            dialect: Dialect,
        ) -> Option<IResult<&'a [u8], Body<'a>>> {
            let _ = dialect;
            Some(match kind {
                $(MessageType::$name => {
                    let read = |input: &'a [u8]| {
                        $(let (input, $field) = <$type as Wire<'a>>::parse(input, dialect)?;)*
                        Ok((input, Body::$name($name { $($field),* })))
                    };
                    read(input)
                })*
                _ => return None,
            })
        }

        /// The fields of a message of this kind.
        const fn table(kind: MessageType) -> Option<&'static [Spec]> {
            Some(match kind {
                $(MessageType::$name => const { &[$(
                    $(messages!(@spec $count_how $count, $count_shape),)?
                    messages!(@spec $how messages!(@name $field $($wire)?), $shape $($when)?),
                )*] },)*
                _ => return None,
            })
        }

        impl<'a> Body<'a> {
            /// The strings in it, each with its field's name.
            #[inline]
            pub(super) fn each_text(&self, mut with: impl FnMut(&'static str, Text<'a>)) {
                let _ = &mut with;
                match self {
                    $(Self::$name(body) => {
                        let _ = body;
                        $(messages!(
                            @text $shape, messages!(@name $field $($wire)?), body.$field, with
                        );)*
                    })*
                }
            }

            /// The kind of message it belongs to.
            pub const fn kind(&self) -> MessageType {
                match self {
                    $(Self::$name(_) => MessageType::$name,)*
                }
            }
        }
    };
    (@name $field:ident) => { stringify!($field) };
    (@name $field:ident $wire:literal) => { $wire };
    // Its fields stand in a list of their own: see `fields_of`.
    (@spec $how:ident $name:expr, Stat) => {
        messages!(@spec $how $name, Data Always)
    };
    (@spec $how:ident $name:expr, $shape:ident) => {
        messages!(@spec $how $name, $shape Always)
    };
    (@spec shown $name:expr, $shape:ident $when:ident) => {
        Spec { name: $name, shape: Shape::$shape, when: When::$when, in_summary: true }
    };
    (@spec hidden $name:expr, $shape:ident $when:ident) => {
        Spec { name: $name, shape: Shape::$shape, when: When::$when, in_summary: false }
    };
    (@text Text, $name:expr, $value:expr, $with:ident) => {
        if let Some(text) = Strings::strings($value) { $with($name, text) }
    };
    (@text Texts, $name:expr, $value:expr, $with:ident) => {
        for text in $value.iter() { $with($name, text) }
    };
    (@text Stat, $name:expr, $value:expr, $with:ident) => {
        for (name, text) in $value.stat.texts() { $with(name, text) }
    };
    (@text $shape:ident, $name:expr, $value:expr, $with:ident) => {};
}
