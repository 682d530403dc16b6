//! Captures in the form of other tools: each form in a file of its own.
//!
//! An [`Exporter`] is told of every item of a capture, in order, and writes. To add a
//! form: a file with an exporter, a variant of [`Format`](crate::cli::Format), and a
//! line in [`exporter`].

mod p9_pcapng;

use std::io::Write;

use virtscope_captures::Item;

use crate::cli::Format;

/// Writes one form.
pub(crate) trait Exporter {
    /// Takes in what was found in the capture.
    ///
    /// # Errors
    /// The output takes no more.
    fn item(&mut self, item: &Item<'_>) -> anyhow::Result<()>;

    /// The capture has ended. What there is to say of what was written, one line each.
    ///
    /// # Errors
    /// The output takes no more.
    fn finish(&mut self) -> anyhow::Result<Vec<String>>;
}

/// The exporter of a form.
///
/// # Errors
/// The output takes nothing.
pub(crate) fn exporter<'a>(
    format: Format,
    out: impl Write + 'a,
) -> anyhow::Result<Box<dyn Exporter + 'a>> {
    Ok(match format {
        Format::P9Pcapng => Box::new(p9_pcapng::P9Pcapng::new(out)?),
    })
}
