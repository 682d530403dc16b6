//! QEMU's machine protocol: one JSON object a line.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Value, json};

/// QEMU answers at once, unless the machine is very busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection on which commands can be given.
#[derive(Debug)]
pub(crate) struct Qmp {
    reader: BufReader<UnixStream>,
    writer: UnixStream,
}

impl Qmp {
    /// Takes the greeting and leaves the negotiation behind.
    pub(crate) fn new(stream: UnixStream) -> anyhow::Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut this = Self {
            writer: stream.try_clone()?,
            reader: BufReader::new(stream),
        };
        let greeting = this.line()?;
        if greeting.get("QMP").is_none() {
            bail!("QEMU's greeting is not one: {greeting}");
        }
        this.command("qmp_capabilities", &json!({}))?;
        Ok(this)
    }

    /// Gives a command and returns what it returns. Events in between are passed
    /// over.
    ///
    /// # Errors
    /// QEMU refuses it, is gone, or does not answer.
    pub(crate) fn command(&mut self, name: &str, arguments: &Value) -> anyhow::Result<Value> {
        let command = json!({ "execute": name, "arguments": arguments });
        writeln!(self.writer, "{command}").with_context(|| format!("QMP {name}"))?;
        loop {
            let mut answer = self.line().with_context(|| format!("QMP {name}"))?;
            if let Some(error) = answer.get("error") {
                bail!("QMP {name}: {error}");
            }
            if let Some(returned) = answer.get_mut("return") {
                return Ok(returned.take());
            }
        }
    }

    fn line(&mut self) -> anyhow::Result<Value> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            bail!("QEMU has hung up");
        }
        serde_json::from_str(&line).with_context(|| format!("QEMU says {line}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A QEMU that says what it is told to.
    fn qemu(says: &str) -> UnixStream {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(says.as_bytes()).unwrap();
        // Reading ends at the end of what it says; writing goes on.
        let reader = theirs.try_clone().unwrap();
        theirs.shutdown(std::net::Shutdown::Write).unwrap();
        std::thread::spawn(move || std::io::copy(&mut &reader, &mut std::io::sink()));
        ours
    }

    #[test]
    fn events_are_passed_over() {
        let stream =
            qemu("{\"QMP\": {}}\n{\"return\": {}}\n{\"event\": \"RESET\"}\n{\"return\": [1, 2]}\n");
        let mut qmp = Qmp::new(stream).unwrap();
        let returned = qmp.command("x-query-virtio", &json!({})).unwrap();
        assert_eq!(returned, json!([1, 2]));
    }

    #[test]
    fn a_refusal_is_an_error_that_names_the_command() {
        let stream = qemu("{\"QMP\": {}}\n{\"return\": {}}\n{\"error\": {\"class\": \"X\"}}\n");
        let mut qmp = Qmp::new(stream).unwrap();
        let error = qmp.command("stop", &json!({})).unwrap_err();
        assert_eq!(error.to_string(), "QMP stop: {\"class\":\"X\"}");
    }

    #[test]
    fn an_end_is_an_error() {
        let error = Qmp::new(qemu("")).unwrap_err();
        assert_eq!(error.to_string(), "QEMU has hung up");
    }
}
