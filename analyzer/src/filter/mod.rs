//! Which requests are wanted: an expression in
//! [CEL](https://github.com/google/cel-spec), the Common Expression Language.
//!
//! The language, its parser and its evaluation are the `cel` crate's. What stands
//! here is what it can't know: the [fields](FIELDS) of a request, and a
//! [check](check) before the first request that names what is wrong and where.
//!
//! What is not known of a request (the latency of one in flight, the offset where no
//! header was captured) is `null`. A comparison with it is neither true nor false, and
//! a request of which it can't be said that it matches does not match: neither
//! `latency > duration("1ms")` nor `!(latency > duration("1ms"))` finds one in
//! flight, and `latency == null` does.

mod check;
mod error;
mod fields;
mod fold;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use cel::common::types::CelBool;
use cel::common::value::CowVal;
use cel::context::VariableResolver;
use cel::{Context, Env, IdedExpr, Value};
use virtscope_record::Timestamp;

use crate::life::Life;
use fields::FieldOf;
use fold::Constants;

pub use error::FilterError;
pub use fields::{FIELDS, FieldInfo, filter_help};

/// The longest expression. Nobody types more, and a parser that follows what is
/// nested shall not run out of stack.
const LONGEST: usize = 4096;

/// How deep an expression may be nested.
const DEEPEST: usize = 12;

/// A compiled filter. It is compiled once and can be asked from several threads.
///
/// ```
/// use virtscope_analyzer::Filter;
///
/// let filter = Filter::compile(r#"op == "read" && latency > duration("1ms")"#)?;
/// assert!(Filter::compile("latncy > 3").unwrap_err().to_string().contains("`latency`"));
/// # Ok::<(), virtscope_analyzer::FilterError>(())
/// ```
pub struct Filter {
    text: String,
    expression: IdedExpr,
    constants: Arc<Constants>,
    env: Arc<Env>,
    /// Requests of which it could not be said, for another reason than a field
    /// that is not known.
    failed: AtomicU64,
}

/// What a filter says of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is one of those wanted.
    Matches,
    /// It is not.
    Differs,
    /// A field that decides is not known of it: it is not shown either.
    Unknown,
    /// The expression cannot be evaluated for it, like a division by zero.
    Fails,
}

impl Filter {
    /// Compiles `text`.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn compile(text: &str) -> Result<Self, FilterError> {
        if text.len() > LONGEST {
            return Err(FilterError::new(
                text,
                0,
                format!("longer than {LONGEST} bytes"),
            ));
        }
        check::nesting(text, DEEPEST)?;
        let env = Arc::new(Env::stdlib());
        let parser = env.parser();
        let (expression, source) = parser
            .parse_with_source_info(text)
            .map_err(|errors| FilterError::of_syntax(text, &errors))?;
        check::check(text, &expression, &source)?;
        let (expression, constants) = fold::fold(text, expression, &source, &env)?;
        Ok(Self {
            text: text.to_owned(),
            expression,
            constants: Arc::new(constants),
            env,
            failed: AtomicU64::new(0),
        })
    }

    /// The expression as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What it says of `life`, in a stream that began at `first`.
    pub fn judge(&self, life: &Life, first: Timestamp) -> Verdict {
        let request = Request {
            life,
            first,
            constants: &self.constants,
            unknown: AtomicBool::new(false),
        };
        let mut context = Context::with_env(Arc::clone(&self.env));
        context.set_variable_resolver(&request);
        self.constants.tell(&mut context);
        let verdict = match Value::resolve_val(&self.expression, &context) {
            Ok(value) => match value.downcast_ref::<CelBool>().map(|bool| *bool.inner()) {
                Some(true) => Verdict::Matches,
                Some(false) => Verdict::Differs,
                None => Verdict::Fails,
            },
            Err(_) if request.unknown.load(Ordering::Relaxed) => Verdict::Unknown,
            Err(_) => Verdict::Fails,
        };
        if verdict == Verdict::Fails {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
        verdict
    }

    /// Whether `life` is one of those wanted.
    pub fn matches(&self, life: &Life, first: Timestamp) -> bool {
        self.judge(life, first) == Verdict::Matches
    }

    /// Requests for which the expression could not be evaluated so far.
    pub fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }
}

impl std::fmt::Debug for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Filter({:?})", self.text)
    }
}

/// A request as an expression sees it: nothing is looked at that it does not name.
struct Request<'a> {
    life: &'a Life,
    first: Timestamp,
    constants: &'a Constants,
    /// A field was asked for that is not known.
    unknown: AtomicBool,
}

impl VariableResolver for Request<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        if let Some(constant) = self.constants.get(variable) {
            return Some(constant);
        }
        let value = fields::value(variable, self.life, self.first)?;
        if matches!(value, FieldOf::Unknown) {
            self.unknown.store(true, Ordering::Relaxed);
        }
        Some(value.into_val())
    }
}
