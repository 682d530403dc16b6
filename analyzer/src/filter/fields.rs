//! What an expression can ask of a request.

use std::fmt::Write as _;

use cel::common::types::{CelBool, CelDuration, CelInt, CelNull, CelString};
use cel::common::value::CowVal;
use virtscope_record::Timestamp;

use super::check::Type;
use crate::life::{Announcement, Life, Outcome};
use crate::p9::{Message, Value};

/// A field of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FieldInfo {
    /// Its name.
    pub name: &'static str,
    /// Its type in CEL.
    pub(super) kind: Type,
    /// Whether it is `null` where it is not known.
    pub is_nullable: bool,
    /// What it means.
    pub meaning: &'static str,
}

impl FieldInfo {
    /// The name of its type in CEL: `string`, `int`, `bool` or `duration`.
    pub fn type_name(&self) -> &'static str {
        self.kind.name()
    }

    /// The field of this name.
    pub(super) fn named(name: &str) -> Option<&'static Self> {
        FIELDS.iter().find(|field| field.name == name)
    }
}

/// What a field says of one request.
pub(super) enum FieldOf<'a> {
    Text(std::borrow::Cow<'a, str>),
    Int(u64),
    Bool(bool),
    Nanos(u64),
    Unknown,
}

impl<'a> FieldOf<'a> {
    pub(super) fn into_val(self) -> CowVal<'a, 'a> {
        match self {
            Self::Text(std::borrow::Cow::Borrowed(text)) => CowVal::owned(CelString::from(text)),
            Self::Text(std::borrow::Cow::Owned(text)) => CowVal::owned(CelString::from(text)),
            Self::Int(int) => CowVal::owned(CelInt::from(i64::try_from(int).unwrap_or(i64::MAX))),
            Self::Bool(bool) => CowVal::owned(CelBool::from(bool)),
            Self::Nanos(ns) => {
                let ns = i64::try_from(ns).unwrap_or(i64::MAX);
                CowVal::owned(CelDuration::from(chrono::Duration::nanoseconds(ns)))
            }
            Self::Unknown => CowVal::owned(CelNull),
        }
    }

    fn text(text: &'a str) -> Self {
        Self::Text(text.into())
    }
}

impl<'a, T: Into<FieldOf<'a>>> From<Option<T>> for FieldOf<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Unknown, Into::into)
    }
}

macro_rules! is_nullable {
    () => {
        false
    };
    (nullable) => {
        true
    };
}

macro_rules! fields {
    ($(
        $name:ident: $kind:ident $($null:ident)?, $meaning:literal,
        |$life:ident, $first:ident| $value:expr;
    )*) => {
        /// The fields, in the order in which they are listed.
        pub const FIELDS: &[FieldInfo] = &[$(
            FieldInfo {
                name: stringify!($name),
                kind: Type::$kind,
                is_nullable: is_nullable!($($null)?),
                meaning: $meaning,
            },
        )*];

        /// What the field `name` says of `life`; nothing, if there is no such field.
        pub(super) fn value<'a>(
            name: &str,
            life: &'a Life,
            first: Timestamp,
        ) -> Option<FieldOf<'a>> {
            $(
                #[allow(unused_variables, reason = "most fields need no beginning")]
                if name == stringify!($name) {
                    let ($life, $first) = (life, first);
                    return Some($value);
                }
            )*
            None
        }
    };
}

fields! {
    op: String, "the operation: `read`, `walk`, ...; `unknown` if its header was not captured; `buffer` on a queue that is not 9P",
        |life, first| FieldOf::text(life.operation.name());
    queue: String, "the queue, like `virtio0.0`",
        |life, first| FieldOf::Text(life.queue.to_string().into());
    number: Int, "the request's number, counted from 0 in the order in which they begin",
        |life, first| FieldOf::Int(life.number);
    time: Duration nullable, "when it began, after the first record of the stream",
        |life, first| life.began().map(|began| FieldOf::Nanos(began.nanos_since(first))).into();
    latency: Duration nullable, "from add to used",
        |life, first| life.total_ns().map(FieldOf::Nanos).into();
    queued: Duration nullable, "from add to kick decision, of a complete one",
        |life, first| life.phases().map(|phases| FieldOf::Nanos(phases.queued_ns)).into();
    device: Duration nullable, "from kick decision to callback (to used, if polled), of a complete one",
        |life, first| life.phases().map(|phases| FieldOf::Nanos(phases.device_ns)).into();
    harvest: Duration nullable, "from callback to used, of a complete one",
        |life, first| life.phases().map(|phases| FieldOf::Nanos(phases.harvest_ns)).into();
    service: Duration nullable, "from taken to returned, where the device's half was seen",
        |life, first| life.service_ns().map(FieldOf::Nanos).into();
    overlap: Duration, "how long the device had it before the kick decision",
        |life, first| FieldOf::Nanos(life.overlap_ns);
    state: String, "`complete`, `incomplete` or `in flight`",
        |life, first| FieldOf::text(match life.outcome {
            Outcome::Complete(_) => "complete",
            Outcome::Incomplete(_) => "incomplete",
            Outcome::InFlight => "in flight",
        });
    reason: String nullable, "why it is incomplete: `begun_before`, `lost_add`, ...",
        |life, first| match life.outcome {
            Outcome::Incomplete(reason) => FieldOf::text(reason.name()),
            _ => FieldOf::Unknown,
        };
    error: String nullable, "the error it ended in, by name: `ENOENT`",
        |life, first| life.error.map(|errno| match errno.name() {
            Some(name) => FieldOf::text(name),
            None => FieldOf::Text(errno.0.to_string().into()),
        }).into();
    errno: Int nullable, "the error it ended in, by number",
        |life, first| life.error.map(|errno| FieldOf::Int(errno.0.into())).into();
    bytes: Int, "data moved: what a read or readdir returned or a write accepted; off 9P, all bytes",
        |life, first| FieldOf::Int(life.data_bytes);
    readable: Int, "device-readable bytes of its buffer",
        |life, first| FieldOf::Int(life.shape.readable_bytes.into());
    writable: Int, "device-writable bytes of its buffer",
        |life, first| FieldOf::Int(life.shape.writable_bytes.into());
    written: Int nullable, "bytes the device says it wrote",
        |life, first| life.used_length.map(|length| FieldOf::Int(length.into())).into();
    descriptors: Int, "descriptors of the ring that it took",
        |life, first| FieldOf::Int(life.shape.descriptors.into());
    indirect: Bool, "its segments stand in an indirect descriptor table",
        |life, first| FieldOf::Bool(life.shape.indirect);
    path: String nullable, "the path of the file that a 9P request is about, where it is known",
        |life, first| life.subject.path.as_ref()
            .and_then(|path| path.known())
            .map(|path| FieldOf::Text(String::from_utf8_lossy(path)))
            .into();
    name: String nullable, "names that a 9P request carries, joined by `/`: those walked, created, removed",
        |life, first| names(life).map(|names| FieldOf::Text(names.into())).into();
    fid: Int nullable, "the fid that a 9P request is about first",
        |life, first| request(life)
            .and_then(|request| request.fid())
            .map(|fid| FieldOf::Int(fid.0.into()))
            .into();
    tag: Int nullable, "the tag of a 9P request",
        |life, first| request(life).map(|request| FieldOf::Int(request.tag.0.into())).into();
    offset: Int nullable, "where a 9P read, write or readdir begins",
        |life, first| number(life, "offset").map(FieldOf::Int).into();
    count: Int nullable, "bytes that a 9P read, write or readdir asks to move",
        |life, first| number(life, "count").map(FieldOf::Int).into();
    head: Int, "the descriptor or buffer id it stood under",
        |life, first| FieldOf::Int(life.head.into());
    generation: Int, "which life of the queue",
        |life, first| FieldOf::Int(life.generation.0.into());
    kicked: Bool nullable, "the kick decision that covers it was to notify the device",
        |life, first| life.kick.map(|kick| FieldOf::Bool(kick.needed)).into();
    batch: Int nullable, "buffers that its kick decision covers",
        |life, first| life.kick.map(|kick| FieldOf::Int(kick.batch.into())).into();
    polled: Bool nullable, "it was found by looking, without a callback",
        |life, first| life.phases()
            .map(|phases| FieldOf::Bool(phases.announcement == Announcement::Polled))
            .into();
    interrupted: Bool nullable, "the device's half decided to interrupt for it",
        |life, first| life.interrupted.map(FieldOf::Bool).into();
    out_of_order: Bool, "it was used while one added earlier was in flight",
        |life, first| FieldOf::Bool(life.out_of_order);
    contradictory: Bool, "it contradicts itself, or its reply does",
        |life, first| FieldOf::Bool(!life.anomalies.is_empty());
    process: Int, "the process that added it (Linux tgid), 0 if not known",
        |life, first| FieldOf::Int(life.process.into());
    thread: Int, "the thread that added it (Linux pid), 0 if not known",
        |life, first| FieldOf::Int(life.thread.into());
    context: String, "where the add ran: `task`, `softirq`, `hardirq`, `unknown`",
        |life, first| FieldOf::Text(life.context.to_string().into());
}

/// The request as 9P, if it is one and its start was kept.
fn request(life: &Life) -> Option<Message<'_>> {
    life.request_9p()?.ok()
}

fn number(life: &Life, name: &str) -> Option<u64> {
    match request(life)?.value(name)? {
        Value::Number(number) => Some(number),
        _ => None,
    }
}

/// A name that is not UTF-8 is compared with what it looks like.
fn names(life: &Life) -> Option<String> {
    let mut names: Option<String> = None;
    for field in request(life)?.fields() {
        if let Value::Text(text) = field.value {
            let names = names.get_or_insert_default();
            if !names.is_empty() {
                names.push('/');
            }
            names.push_str(&String::from_utf8_lossy(text));
        }
    }
    names
}

/// The fields, what can be done with them, and examples: what `--filter help`
/// prints.
pub fn filter_help() -> String {
    let mut text = String::from(
        "A filter is an expression in CEL, the Common Expression Language, that is true\n\
         for the requests that are wanted:\n\n",
    );
    for example in [
        r#"op == "read" && latency > duration("1ms")"#,
        r#"error != null && !(error in ["ENOENT", "EACCES"])"#,
        r#"state == "in flight" && time < duration("2s")"#,
        r#"device > queued + harvest || queue == "virtio1.0""#,
    ] {
        if super::Filter::compile(example).is_ok() {
            let _ = writeln!(text, "  --filter '{example}'");
        }
    }
    text.push_str(
        "\nFields; those with `?` are null where they are not known, and a comparison with\n\
         null makes no request match:\n\n",
    );
    for field in FIELDS {
        let null = if field.is_nullable { "?" } else { "" };
        let kind = format!("{}{null}", field.kind.name());
        let mut meaning = String::new();
        let mut width = 0;
        for word in field.meaning.split(' ') {
            if width + word.len() > 70 {
                meaning.push_str(&format!("\n{:27}", ""));
                width = 0;
            }
            if width > 0 {
                meaning.push(' ');
                width += 1;
            }
            meaning.push_str(word);
            width += word.chars().count();
        }
        let _ = writeln!(text, "  {:<14}{kind:<11}{meaning}", field.name);
    }
    text.push_str(
        "\nOperators: == != < <= > >= && || ! + - * / % in, and ? : \n\
         On strings: s.startsWith(\"/etc\"), s.endsWith(\".so\"), s.contains(\"x\"),\n\
         s.matches(\"^/(etc|usr)/\"), size(s). Durations: duration(\"1.5ms\") with the units\n\
         h, m, s, ms, us, ns; d.getMilliseconds(). Lists: x in [1, 2].\n",
    );
    text
}
