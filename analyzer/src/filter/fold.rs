//! What is the same for every request is worked out once: `duration("1ms")` and
//! other calls on literals, and patterns.

use std::sync::Arc;

use cel::common::ast::{CallExpr, Expr, LiteralValue, SourceInfo};
use cel::common::types::{CelDuration, CelInt};
use cel::common::value::CowVal;
use cel::extractors::This;
use cel::{Context, Env, ExecutionError, IdedExpr, Value};
use regex::Regex;

use super::FilterError;

/// The prefix of the names that stand for constants; no expression can have it.
const PREFIX: char = '\u{1}';

/// What stands for `matches` where the pattern is a literal: then it is compiled once, and
/// the call has its number instead.
const MATCHES: &str = "\u{1}matches";

/// What was worked out.
#[derive(Debug, Default)]
pub(super) struct Constants {
    values: Vec<Constant>,
    patterns: Vec<Regex>,
}

#[derive(Debug)]
enum Constant {
    Duration(CelDuration),
    Int(CelInt),
}

impl Constants {
    /// The constant of this name.
    pub(super) fn get(&self, name: &str) -> Option<CowVal<'_, '_>> {
        let number = name.strip_prefix(PREFIX)?.parse::<usize>().ok()?;
        Some(match self.values.get(number)? {
            Constant::Duration(duration) => CowVal::Borrowed(duration),
            Constant::Int(int) => CowVal::Borrowed(int),
        })
    }

    /// Has `context` know the patterns.
    pub(super) fn tell(self: &Arc<Self>, context: &mut Context<'_, '_>) {
        if self.patterns.is_empty() {
            return;
        }
        let constants = Arc::clone(self);
        let matches = move |This(text): This<Arc<String>>, number: i64| -> bool {
            let pattern = usize::try_from(number).ok();
            let pattern = pattern.and_then(|number| constants.patterns.get(number));
            pattern.is_some_and(|pattern| pattern.is_match(&text))
        };
        // No name of the language's begins with that.
        let added = context.add_function(MATCHES, matches);
        debug_assert_eq!(added, Ok(()));
    }
}

/// The same expression with its constant calls replaced.
pub(super) fn fold(
    text: &str,
    mut expression: IdedExpr,
    source: &SourceInfo,
    env: &Arc<Env>,
) -> Result<(IdedExpr, Constants), FilterError> {
    let mut constants = Constants::default();
    let context = Context::with_env(Arc::clone(env));
    walk(text, &mut expression, source, &context, &mut constants)?;
    Ok((expression, constants))
}

fn walk(
    text: &str,
    expression: &mut IdedExpr,
    source: &SourceInfo,
    context: &Context<'_, '_>,
    constants: &mut Constants,
) -> Result<(), FilterError> {
    let id = expression.id;
    if is_constant_call(&expression.expr) {
        let offset = source.offset_for(id).map_or(0, |(start, _)| start as usize);
        let value = Value::resolve(expression, context)
            .map_err(|error| FilterError::new(text, offset, no_value(&expression.expr, &error)))?;
        let constant = match value {
            Value::Duration(duration) => Constant::Duration(duration.into()),
            Value::Int(int) => Constant::Int(int.into()),
            _ => return Ok(()),
        };
        expression.expr = Expr::Ident(format!("{PREFIX}{}", constants.values.len()));
        constants.values.push(constant);
        return Ok(());
    }
    match &mut expression.expr {
        Expr::Call(call) => {
            pattern(text, call, source, constants)?;
            for argument in call.target.as_deref_mut().into_iter().chain(&mut call.args) {
                walk(text, argument, source, context, constants)?;
            }
        }
        Expr::List(list) => {
            for element in &mut list.elements {
                walk(text, element, source, context, constants)?;
            }
        }
        Expr::Comprehension(comprehension) => {
            let parts = [
                &mut comprehension.iter_range,
                &mut comprehension.accu_init,
                &mut comprehension.loop_cond,
                &mut comprehension.loop_step,
                &mut comprehension.result,
            ];
            for part in parts {
                walk(text, part, source, context, constants)?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// Why a constant has no value.
fn no_value(expression: &Expr, error: &ExecutionError) -> String {
    match expression {
        Expr::Call(call) if call.func_name == "duration" => {
            "this is no duration: write it like \"1ms\", \"1.5s\" or \"2m\"".to_owned()
        }
        _ => format!("it has no value: {error}"),
    }
}

/// A pattern that is a literal is compiled here, where one that is none can be told of.
fn pattern(
    text: &str,
    call: &mut CallExpr,
    source: &SourceInfo,
    constants: &mut Constants,
) -> Result<(), FilterError> {
    let (true, Some(_), [pattern]) = (
        call.func_name == "matches",
        &call.target,
        &mut call.args[..],
    ) else {
        return Ok(());
    };
    let Expr::Literal(LiteralValue::String(literal)) = &pattern.expr else {
        return Ok(());
    };
    let Ok(regex) = Regex::new(literal.inner()) else {
        let offset = source.offset_for(pattern.id).map_or(0, |(start, _)| start);
        let message = "this is no regular expression";
        return Err(FilterError::new(text, offset as usize, message));
    };
    let number = constants.patterns.len() as i64;
    pattern.expr = Expr::Literal(LiteralValue::Int(number.into()));
    MATCHES.clone_into(&mut call.func_name);
    constants.patterns.push(regex);
    Ok(())
}

/// A call whose arguments are literals, all of them.
fn is_constant_call(expression: &Expr) -> bool {
    let Expr::Call(call) = expression else {
        return false;
    };
    let is_literal = |argument: &IdedExpr| {
        matches!(argument.expr, Expr::Literal(_)) || is_constant_call(&argument.expr)
    };
    let mut arguments = call.target.as_deref().into_iter().chain(&call.args);
    arguments.all(is_literal)
}
