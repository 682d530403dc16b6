//! Types and names, before the first request is asked.
//!
//! CEL's own evaluation is dynamic: a name that is none would be an error with each
//! request. Here every name is looked up and every operator is held against the
//! types of what it stands between, and what is wrong is pointed at.

use cel::IdedExpr;
use cel::common::ast::{CallExpr, Expr, LiteralValue, SourceInfo, operators};

use super::FilterError;
use super::fields::{FIELDS, FieldInfo};

/// The types that can occur.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Type {
    Bool,
    Int,
    Uint,
    Double,
    String,
    Bytes,
    Duration,
    Null,
    /// A list of one type, or of several.
    List(Element),
    /// Anything: what a comprehension makes of a list of several types.
    Any,
}

/// What a list holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Element {
    Bool,
    Int,
    Double,
    String,
    Duration,
    Any,
}

impl Type {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Uint => "uint",
            Self::Double => "double",
            Self::String => "string",
            Self::Bytes => "bytes",
            Self::Duration => "duration",
            Self::Null => "null",
            Self::List(_) => "list",
            Self::Any => "anything",
        }
    }

    fn is_number(self) -> bool {
        matches!(self, Self::Int | Self::Uint | Self::Double | Self::Any)
    }

    fn fits(self, other: Self) -> bool {
        self == other || self == Self::Any || other == Self::Any
    }

    fn element(self) -> Element {
        match self {
            Self::Bool => Element::Bool,
            Self::Int => Element::Int,
            Self::Double => Element::Double,
            Self::String => Element::String,
            Self::Duration => Element::Duration,
            _ => Element::Any,
        }
    }
}

impl From<Element> for Type {
    fn from(element: Element) -> Self {
        match element {
            Element::Bool => Self::Bool,
            Element::Int => Self::Int,
            Element::Double => Self::Double,
            Element::String => Self::String,
            Element::Duration => Self::Duration,
            Element::Any => Self::Any,
        }
    }
}

/// Functions by name: what they are called on or take first, what else they take,
/// and what they give.
const FUNCTIONS: &[(&str, &[Type], &[Type], Type)] = &[
    ("startsWith", &[Type::String], &[Type::String], Type::Bool),
    ("endsWith", &[Type::String], &[Type::String], Type::Bool),
    ("contains", &[Type::String], &[Type::String], Type::Bool),
    ("matches", &[Type::String], &[Type::String], Type::Bool),
    (
        "size",
        &[Type::String, Type::Bytes, Type::List(Element::Any)],
        &[],
        Type::Int,
    ),
    (
        "duration",
        &[Type::String, Type::Duration],
        &[],
        Type::Duration,
    ),
    (
        "int",
        &[Type::Int, Type::Uint, Type::Double, Type::String],
        &[],
        Type::Int,
    ),
    (
        "uint",
        &[Type::Int, Type::Uint, Type::Double, Type::String],
        &[],
        Type::Uint,
    ),
    (
        "double",
        &[Type::Int, Type::Uint, Type::Double, Type::String],
        &[],
        Type::Double,
    ),
    ("string", &[Type::Any], &[], Type::String),
    ("getHours", &[Type::Duration], &[], Type::Int),
    ("getMinutes", &[Type::Duration], &[], Type::Int),
    ("getSeconds", &[Type::Duration], &[], Type::Int),
    ("getMilliseconds", &[Type::Duration], &[], Type::Int),
];

/// Operators of one operand of && or ||, at most: each makes the tree a level
/// deeper.
const MOST_OPERATORS: usize = 48;

/// Refuses what is nested deeper than `most`, before a parser follows it down.
pub(super) fn nesting(text: &str, most: usize) -> Result<(), FilterError> {
    let (mut depth, mut operators) = (0_usize, 0_usize);
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(open), _) if open == c => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '(' | '[' | '{') => depth += 1,
            (None, ')' | ']' | '}') => depth = depth.saturating_sub(1),
            (None, '&' | '|' | ',') => operators = 0,
            (None, '+' | '-' | '*' | '/' | '%' | '.' | '<' | '>' | '=' | '!' | '?') => {
                operators += 1;
            }
            _ => {}
        }
        if depth > most || operators > MOST_OPERATORS {
            return Err(FilterError::new(text, at, "it is nested too deep"));
        }
    }
    Ok(())
}

/// Checks the whole expression: it must be a bool.
pub(super) fn check(
    text: &str,
    expression: &IdedExpr,
    source: &SourceInfo,
) -> Result<(), FilterError> {
    let mut checker = Checker {
        text,
        source,
        scope: Vec::new(),
    };
    let found = checker.type_of(expression)?;
    if !found.fits(Type::Bool) {
        let message = format!(
            "a filter must be true or false, and this is {}",
            with_article(found)
        );
        return Err(checker.error(expression, message));
    }
    Ok(())
}

struct Checker<'a> {
    text: &'a str,
    source: &'a SourceInfo,
    /// Names that a comprehension binds.
    scope: Vec<(String, Type)>,
}

impl Checker<'_> {
    fn error(&self, expression: &IdedExpr, message: impl Into<String>) -> FilterError {
        FilterError::new(self.text, self.start(expression), message)
    }

    /// Where an expression begins: its own place is that of its operator.
    fn start(&self, expression: &IdedExpr) -> usize {
        let own = self.source.offset_for(expression.id);
        let own = own.map_or(usize::MAX, |(start, _)| start as usize);
        let first = match &expression.expr {
            Expr::Call(call) => call.target.as_deref().or(call.args.first()),
            Expr::Select(select) => Some(&*select.operand),
            Expr::Comprehension(comprehension) => Some(&comprehension.iter_range),
            _ => None,
        };
        let start = first.map_or(own, |first| own.min(self.start(first)));
        if start == usize::MAX { 0 } else { start }
    }

    fn type_of(&mut self, expression: &IdedExpr) -> Result<Type, FilterError> {
        match &expression.expr {
            Expr::Literal(literal) => Ok(match literal {
                LiteralValue::Boolean(_) => Type::Bool,
                LiteralValue::Bytes(_) => Type::Bytes,
                LiteralValue::Double(_) => Type::Double,
                LiteralValue::Int(_) => Type::Int,
                LiteralValue::Null => Type::Null,
                LiteralValue::String(_) => Type::String,
                LiteralValue::UInt(_) => Type::Uint,
            }),
            Expr::Ident(name) => self.name(expression, name),
            Expr::Call(call) => self.call(expression, call),
            Expr::List(list) => {
                let mut element = None;
                for item in &list.elements {
                    let found = self.type_of(item)?.element();
                    element = match element {
                        None => Some(found),
                        Some(before) if before == found => element,
                        Some(_) => Some(Element::Any),
                    };
                }
                Ok(Type::List(element.unwrap_or(Element::Any)))
            }
            Expr::Comprehension(comprehension) => {
                let range = self.type_of(&comprehension.iter_range)?;
                let item = match range {
                    Type::List(element) => element.into(),
                    Type::Any => Type::Any,
                    other => {
                        let message = format!("{} has no elements", with_article(other));
                        return Err(self.error(&comprehension.iter_range, message));
                    }
                };
                let accumulated = match self.type_of(&comprehension.accu_init)? {
                    Type::List(_) => Type::List(Element::Any),
                    other => other,
                };
                let before = self.scope.len();
                self.scope.push((comprehension.iter_var.clone(), item));
                if let Some(second) = &comprehension.iter_var2 {
                    self.scope.push((second.clone(), Type::Any));
                }
                self.scope
                    .push((comprehension.accu_var.clone(), accumulated));
                let parts = [&comprehension.loop_cond, &comprehension.loop_step];
                let checked = parts
                    .into_iter()
                    .try_for_each(|part| self.type_of(part).map(drop));
                let result = checked.and_then(|()| self.type_of(&comprehension.result));
                self.scope.truncate(before);
                result
            }
            Expr::Select(select) => {
                let of = self.type_of(&select.operand)?;
                let message = format!("{} has no field `{}`", with_article(of), select.field);
                Err(self.error(&select.operand, message))
            }
            Expr::Map(_) | Expr::Struct(_) | Expr::Unspecified => {
                Err(self.error(expression, "nothing of this kind is of use here"))
            }
        }
    }

    fn name(&self, expression: &IdedExpr, name: &str) -> Result<Type, FilterError> {
        let bound = self.scope.iter().rev().find(|(bound, _)| bound == name);
        if let Some((_, of)) = bound {
            return Ok(*of);
        }
        if let Some(field) = FieldInfo::named(name) {
            return Ok(field.kind);
        }
        let names = FIELDS.iter().map(|field| field.name);
        let hint = nearest(name, names).map_or_else(
            || "`--filter help` lists them".to_owned(),
            |near| format!("did you mean `{near}`?"),
        );
        Err(self.error(expression, format!("there is no field `{name}`: {hint}")))
    }

    fn call(&mut self, expression: &IdedExpr, call: &CallExpr) -> Result<Type, FilterError> {
        let arguments: Vec<&IdedExpr> = call
            .target
            .as_deref()
            .into_iter()
            .chain(&call.args)
            .collect();
        let mut types = Vec::with_capacity(arguments.len());
        for argument in &arguments {
            types.push(self.type_of(argument)?);
        }
        let name = call.func_name.as_str();
        match (name, &types[..], &arguments[..]) {
            (operators::LOGICAL_AND | operators::LOGICAL_OR, [a, b], [left, right]) => {
                self.expect(left, *a, Type::Bool, "stands beside && or ||")?;
                self.expect(right, *b, Type::Bool, "stands beside && or ||")?;
                Ok(Type::Bool)
            }
            (operators::LOGICAL_NOT, [a], [operand]) => {
                self.expect(operand, *a, Type::Bool, "stands behind !")?;
                Ok(Type::Bool)
            }
            (operators::NOT_STRICTLY_FALSE, _, _) => Ok(Type::Bool),
            (operators::CONDITIONAL, [condition, a, b], [first, _, last]) => {
                self.expect(first, *condition, Type::Bool, "stands before ?")?;
                if !a.fits(*b) {
                    let message = format!(
                        "both sides of : must be alike, and these are {} and {}",
                        a.name(),
                        b.name()
                    );
                    return Err(self.error(last, message));
                }
                Ok(*a)
            }
            (operators::EQUALS | operators::NOT_EQUALS, [a, b], [left, right]) => {
                self.comparable(*a, *b, left, right)?;
                Ok(Type::Bool)
            }
            (
                operators::LESS
                | operators::LESS_EQUALS
                | operators::GREATER
                | operators::GREATER_EQUALS,
                [a, b],
                [left, right],
            ) => {
                let alike = a.fits(*b) || (a.is_number() && b.is_number());
                if !alike || *a == Type::Null || matches!(a, Type::List(_)) {
                    return Err(self.unlike(*a, *b, left, right));
                }
                Ok(Type::Bool)
            }
            (operators::IN, [a, b], [left, right]) => match b {
                Type::List(element) => {
                    self.comparable(*a, (*element).into(), left, right)?;
                    Ok(Type::Bool)
                }
                Type::Any => Ok(Type::Bool),
                other => {
                    let message = format!(
                        "behind `in` stands a list, like [1, 2], and this is {}",
                        with_article(*other)
                    );
                    Err(self.error(right, message))
                }
            },
            (operators::INDEX, [Type::List(element), Type::Int], _) => Ok((*element).into()),
            (operators::NEGATE, [a], [operand]) => {
                if a.is_number() {
                    return Ok(*a);
                }
                Err(self.error(operand, format!("{} has no sign", with_article(*a))))
            }
            (
                operators::ADD
                | operators::SUBSTRACT
                | operators::MULTIPLY
                | operators::DIVIDE
                | operators::MODULO,
                [a, b],
                [left, right],
            ) => self.arithmetic(name, *a, *b, left, right),
            _ => self.function(expression, call, &types, &arguments),
        }
    }

    fn arithmetic(
        &self,
        operator: &str,
        a: Type,
        b: Type,
        left: &IdedExpr,
        right: &IdedExpr,
    ) -> Result<Type, FilterError> {
        let adds = operator == operators::ADD;
        let known = match (a, b) {
            (Type::Any, _) | (_, Type::Any) => Some(Type::Any),
            (Type::Int | Type::Uint | Type::Double, _) if a == b => Some(a),
            (Type::Duration, Type::Duration) if adds || operator == operators::SUBSTRACT => {
                Some(Type::Duration)
            }
            (Type::String | Type::Bytes, _) if a == b && adds => Some(a),
            (Type::List(x), Type::List(y)) if adds => {
                Some(Type::List(if x == y { x } else { Element::Any }))
            }
            _ => None,
        };
        known.ok_or_else(|| {
            let sign = operator.trim_matches('_');
            let message = format!("{} {sign} {} is not defined", a.name(), b.name());
            let place = if a == b { left } else { right };
            self.error(place, message)
        })
    }

    fn function(
        &self,
        expression: &IdedExpr,
        call: &CallExpr,
        types: &[Type],
        arguments: &[&IdedExpr],
    ) -> Result<Type, FilterError> {
        let name = call.func_name.as_str();
        let Some((_, first, rest, gives)) = FUNCTIONS.iter().find(|known| known.0 == name) else {
            let names = FUNCTIONS.iter().map(|known| known.0);
            let hint = nearest(name, names).map_or_else(
                || "`--filter help` lists them".to_owned(),
                |near| format!("did you mean `{near}`?"),
            );
            let place = self.place_of_name(expression, name);
            let message = format!("there is no function `{name}`: {hint}");
            return Err(FilterError::new(self.text, place, message));
        };
        if types.len() != 1 + rest.len() {
            let place = self.place_of_name(expression, name);
            let message = format!(
                "`{name}` takes {}",
                match rest.len() {
                    0 => "one argument".to_owned(),
                    more => format!("{more} beside what it is called on"),
                }
            );
            return Err(FilterError::new(self.text, place, message));
        }
        for (at, (found, argument)) in types.iter().zip(arguments).enumerate() {
            let wanted: &[Type] = match at {
                0 => first,
                _ => &rest[at - 1..at],
            };
            let is_list = matches!(found, Type::List(_));
            let fits = wanted.iter().any(|wanted| match wanted {
                Type::List(_) => is_list,
                wanted => found.fits(*wanted),
            });
            if !fits {
                let names: Vec<_> = wanted.iter().map(|wanted| wanted.name()).collect();
                let message = format!(
                    "`{name}` works on {}, and this is {}",
                    names.join(" or "),
                    with_article(*found)
                );
                return Err(self.error(argument, message));
            }
        }
        Ok(*gives)
    }

    /// Where the name of the function that is called stands.
    fn place_of_name(&self, expression: &IdedExpr, name: &str) -> usize {
        let start = self.start(expression).min(self.text.len());
        let from = self.text.floor_char_boundary(start);
        self.text[from..].find(name).map_or(from, |at| from + at)
    }

    fn expect(
        &self,
        place: &IdedExpr,
        found: Type,
        wanted: Type,
        because: &str,
    ) -> Result<(), FilterError> {
        if found.fits(wanted) {
            return Ok(());
        }
        let message = format!(
            "this {because} and must be {}, but it is {}",
            with_article(wanted),
            with_article(found)
        );
        Err(self.error(place, message))
    }

    fn comparable(
        &self,
        a: Type,
        b: Type,
        left: &IdedExpr,
        right: &IdedExpr,
    ) -> Result<(), FilterError> {
        let alike = a.fits(b)
            || (a.is_number() && b.is_number())
            || matches!((a, b), (Type::List(_), Type::List(_)));
        if alike {
            return Ok(());
        }
        // Whether something is known at all can be asked of what may be unknown.
        let nullable = |expression: &IdedExpr| match &expression.expr {
            Expr::Ident(name) => FieldInfo::named(name).is_none_or(|field| field.is_nullable),
            _ => true,
        };
        match (a, b) {
            (Type::Null, _) | (_, Type::Null) => {
                let other = if a == Type::Null { right } else { left };
                if nullable(other) {
                    return Ok(());
                }
                Err(self.error(other, "this is never null"))
            }
            _ => Err(self.unlike(a, b, left, right)),
        }
    }

    fn unlike(&self, a: Type, b: Type, left: &IdedExpr, right: &IdedExpr) -> FilterError {
        let duration = "; write a duration as duration(\"1ms\")";
        let hint = if [a, b].contains(&Type::Duration) {
            duration
        } else {
            ""
        };
        let message = if a.fits(b) {
            format!("{} can't be put in order", with_article(a))
        } else {
            format!(
                "{} can't be compared with {}{hint}",
                with_article(a),
                with_article(b)
            )
        };
        let is_literal = |expression: &IdedExpr| matches!(expression.expr, Expr::Literal(_));
        let place = if is_literal(left) && !is_literal(right) {
            left
        } else {
            right
        };
        self.error(place, message)
    }
}

fn with_article(of: Type) -> String {
    match of {
        Type::Int => "an int".to_owned(),
        Type::Null | Type::Bytes | Type::Any => of.name().to_owned(),
        other => format!("a {}", other.name()),
    }
}

/// The name that is most like `name`, if one is.
fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    names
        .map(|known| (strsim::jaro_winkler(name, known), known))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known)
}
