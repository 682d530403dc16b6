//! The guest kernel's own 9P tracepoints, as tracefs prints them.

use anyhow::{Context, bail, ensure};

/// What `9p_client_req` or `9p_client_res` says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Traced {
    /// A request was made.
    Request { tag: u16, kind: u8 },
    /// Its answer was taken; with the errno if it was an error.
    Reply {
        tag: u16,
        kind: u8,
        errno: Option<u32>,
    },
}

/// The names that `include/trace/events/9p.h` gives to requests, and their numbers
/// in the protocol.
const NAMES: [(&str, u8); 31] = [
    ("TSTATFS", 8),
    ("TLOPEN", 12),
    ("TLCREATE", 14),
    ("TSYMLINK", 16),
    ("TMKNOD", 18),
    ("TRENAME", 20),
    ("TREADLINK", 22),
    ("TGETATTR", 24),
    ("TSETATTR", 26),
    ("TXATTRWALK", 30),
    ("TXATTRCREATE", 32),
    ("TREADDIR", 40),
    ("TFSYNC", 50),
    ("TLOCK", 52),
    ("TGETLOCK", 54),
    ("TLINK", 70),
    ("TMKDIR", 72),
    ("TRENAMEAT", 74),
    ("TUNLINKAT", 76),
    ("TVERSION", 100),
    ("TAUTH", 102),
    ("TATTACH", 104),
    ("TFLUSH", 108),
    ("TWALK", 110),
    ("TOPEN", 112),
    ("TCREATE", 114),
    ("TREAD", 116),
    ("TWRITE", 118),
    ("TCLUNK", 120),
    ("TREMOVE", 122),
    ("TSTAT", 124),
];

/// Reads the file `trace`.
///
/// # Errors
/// Events were overwritten, or a line is not understood.
pub(crate) fn parse(trace: &str) -> anyhow::Result<Vec<Traced>> {
    let mut events = Vec::new();
    for (number, line) in trace.lines().enumerate() {
        let event = if line.starts_with('#') {
            whole(line).map(|()| None)
        } else {
            event(line).map(Some)
        };
        let event = event.with_context(|| format!("line {} of the trace: {line}", number + 1))?;
        events.extend(event);
    }
    Ok(events)
}

/// Whether a line of the head, if it is the one about that, says that nothing was
/// overwritten.
fn whole(line: &str) -> anyhow::Result<()> {
    let Some((_, counts)) = line.split_once("entries-in-buffer/entries-written: ") else {
        return Ok(());
    };
    let counts = counts.split(' ').next().unwrap_or_default();
    let (there, written) = counts.split_once('/').context("no counts")?;
    ensure!(there == written, "events were overwritten");
    Ok(())
}

fn event(line: &str) -> anyhow::Result<Traced> {
    let (is_request, rest) = if let Some((_, rest)) = line.split_once(": 9p_client_req: ") {
        (true, rest)
    } else if let Some((_, rest)) = line.split_once(": 9p_client_res: ") {
        (false, rest)
    } else {
        bail!("neither a request nor a response")
    };
    let words: Vec<&str> = rest.split_ascii_whitespace().collect();
    match (is_request, words.as_slice()) {
        (true, ["client", _, "request", name, "tag", tag]) => Ok(Traced::Request {
            tag: tag.parse().context("the tag")?,
            kind: kind(name)?,
        }),
        (false, ["client", _, "response", name, "tag", tag, "err", error]) => {
            let error: i32 = error.parse().context("the error")?;
            Ok(Traced::Reply {
                tag: tag.parse().context("the tag")?,
                kind: kind(name)?,
                errno: (error != 0).then_some(error.unsigned_abs()),
            })
        }
        _ => bail!("its fields are not those that are known"),
    }
}

fn kind(name: &str) -> anyhow::Result<u8> {
    let found = name
        .strip_prefix("P9_")
        .and_then(|name| NAMES.iter().find(|(other, _)| *other == name));
    let (_, kind) = found.with_context(|| format!("{name} is no message that is known"))?;
    Ok(*kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "# tracer: nop\n#\n# entries-in-buffer/entries-written: 84/84   #P:1\n";

    #[test]
    fn lines_of_a_real_trace_are_understood() {
        let trace = format!(
            "{HEAD}              sh-161     [000] .....    14.622146: 9p_client_req: client 18446616162411013056 request P9_TWALK tag  0\n              sh-161     [000] .....    14.622369: 9p_client_res: client 18446616162411013056 response P9_TWALK tag  0 err -2\n              sh-161     [000] .....    14.620749: 9p_client_res: client 1 response P9_TATTACH tag  12 err 0\n"
        );
        let expected = [
            Traced::Request { tag: 0, kind: 110 },
            Traced::Reply {
                tag: 0,
                kind: 110,
                errno: Some(2),
            },
            Traced::Reply {
                tag: 12,
                kind: 104,
                errno: None,
            },
        ];
        assert_eq!(parse(&trace).unwrap(), expected);
    }

    #[test]
    fn what_is_lost_or_not_understood_is_an_error() {
        for line in [
            "# entries-in-buffer/entries-written: 84/90   #P:1",
            "sh-161 [000] ..... 14.6: 9p_client_req: client 1 request P9_TBOGUS tag 0",
            "sh-161 [000] ..... 14.6: 9p_client_req: client 1 request P9_TWALK tag 70000",
            "sh-161 [000] ..... 14.6: 9p_client_res: client 1 response P9_TWALK tag 0",
            "sh-161 [000] ..... 14.6: 9p_protocol_dump: clnt 1",
            "CPU:1 [LOST 5 EVENTS]",
        ] {
            let error = parse(&format!("# tracer: nop\n{line}\n")).unwrap_err();
            assert!(
                error.to_string().starts_with("line 2 of the trace"),
                "{error}"
            );
        }
    }
}
