//! What is the same for every request is worked out once: `duration("1ms")` and
//! other calls on literals.

use std::sync::Arc;

use cel::common::ast::{CallExpr, Expr, LiteralValue, SourceInfo};
use cel::common::types::{CelDuration, CelInt};
use cel::common::value::CowVal;
use cel::{Context, Env, ExecutionError, IdedExpr, Value};

use super::FilterError;

/// The prefix of the names that stand for constants; no expression can have it.
const PREFIX: char = '\u{1}';

/// What was worked out.
#[derive(Debug, Default)]
pub(super) struct Constants(Vec<Constant>);

#[derive(Debug)]
enum Constant {
    Duration(CelDuration),
    Int(CelInt),
}

impl Constants {
    /// The constant of this name.
    pub(super) fn get(&self, name: &str) -> Option<CowVal<'_, '_>> {
        let number = name.strip_prefix(PREFIX)?.parse::<usize>().ok()?;
        Some(match self.0.get(number)? {
            Constant::Duration(duration) => CowVal::Borrowed(duration),
            Constant::Int(int) => CowVal::Borrowed(int),
        })
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
        expression.expr = Expr::Ident(format!("{PREFIX}{}", constants.0.len()));
        constants.0.push(constant);
        return Ok(());
    }
    match &mut expression.expr {
        Expr::Call(call) => {
            pattern(text, call, source, context)?;
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

/// A pattern that is none would fail with each request: it is tried on nothing.
fn pattern(
    text: &str,
    call: &CallExpr,
    source: &SourceInfo,
    context: &Context<'_, '_>,
) -> Result<(), FilterError> {
    let (true, [pattern]) = (call.func_name == "matches", &call.args[..]) else {
        return Ok(());
    };
    if !matches!(pattern.expr, Expr::Literal(_)) {
        return Ok(());
    }
    let nothing = LiteralValue::String(String::new().into());
    let trial = IdedExpr {
        id: pattern.id,
        expr: Expr::Call(CallExpr {
            func_name: call.func_name.clone(),
            target: Some(Box::new(IdedExpr {
                id: pattern.id,
                expr: Expr::Literal(nothing),
            })),
            args: vec![pattern.clone()],
        }),
    };
    if Value::resolve(&trial, context).is_err() {
        let offset = source.offset_for(pattern.id).map_or(0, |(start, _)| start);
        let message = "this is no regular expression";
        return Err(FilterError::new(text, offset as usize, message));
    }
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
