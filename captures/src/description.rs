//! What a queue is, in words: the payload of its facts record and the text of
//! its interface block.

use virtscope_record::{Body, QueueId, Record};

use crate::info::pairs;

/// The first line of an interface's comment, by which it is known to be ours.
const HEADING: &str = "virtscope queue";

/// Bytes of a name that are kept.
const MAX_NAME: usize = 255;
/// Bytes of a key or value that are kept.
const MAX_TEXT: usize = 512;
/// Properties that are kept, so that they fit into one option of a block.
const MAX_PROPERTIES: usize = 48;

/// A queue's name and whatever else its facts say in words.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct QueueDescription {
    /// The interface's name, like `virtio0/requests`.
    pub name: String,
    /// What else is known, like `driver` = `9pnet_virtio`, in the order given.
    pub properties: Vec<(String, String)>,
}

impl QueueDescription {
    /// The description in the payload of `queue`'s facts record: UTF-8, the name
    /// on the first line, then `key=value` lines. What is not UTF-8 or not
    /// printable is replaced, other lines are skipped, and a queue without a
    /// name is called by its number.
    pub fn from_payload(payload: &[u8], queue: QueueId) -> Self {
        let text = String::from_utf8_lossy(payload);
        let (first, rest) = text.split_once('\n').unwrap_or((&text, ""));
        let name = match clean(first, MAX_NAME) {
            name if name.is_empty() => queue.to_string(),
            name => name,
        };
        Self {
            name,
            properties: properties(rest),
        }
    }

    /// The value of `key`, if it is given.
    pub fn get(&self, key: &str) -> Option<&str> {
        let (_, value) = self.properties.iter().find(|(found, _)| found == key)?;
        Some(value)
    }

    /// One line for people: `driver=9pnet_virtio, tag=scratch`.
    pub(crate) fn summary(&self) -> String {
        let words: Vec<_> = self
            .properties
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        words.join(", ")
    }

    /// The interface's comment: the facts in `record`, then the properties.
    pub(crate) fn to_comment(&self, record: &Record) -> String {
        let mut text = format!("{HEADING}\nqueue={}", record.queue());
        if let Ok(Body::QueueFacts(facts)) = record.body() {
            text += &format!(
                "\nsize={}\nlayout={}\ndevice_type={}\nfeatures={}",
                facts.size, facts.layout, facts.device_type, facts.features
            );
        }
        for (key, value) in &self.properties {
            text += &format!("\n{key}={value}");
        }
        text
    }

    /// The queue and the properties in an interface's comment, if it is ours.
    pub(crate) fn from_comment(comment: &str) -> Option<(QueueId, Vec<(String, String)>)> {
        let text = comment.strip_prefix(HEADING)?.strip_prefix('\n')?;
        let queue = pairs(text).find_map(|(key, value)| (key == "queue").then_some(value))?;
        Some((queue.parse().ok()?, properties(text)))
    }
}

fn properties(text: &str) -> Vec<(String, String)> {
    pairs(text)
        .take(MAX_PROPERTIES)
        .map(|(key, value)| (clean(key, MAX_TEXT), clean(value, MAX_TEXT)))
        .collect()
}

/// `text` without control characters, which would act on a terminal, and no
/// longer than `max` bytes.
fn clean(text: &str, max: usize) -> String {
    let printable = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    let mut text: String = text.trim_end_matches('\r').chars().map(printable).collect();
    text.truncate(text.floor_char_boundary(max));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use virtscope_record::{Common, QueueFacts};

    const QUEUE: QueueId = QueueId::new(3, 1);

    #[test]
    fn reads_name_and_properties() {
        let payload = b"virtio3/requests\ndriver=9pnet_virtio\nnonsense\ntag=a=b";
        let description = QueueDescription::from_payload(payload, QUEUE);
        assert_eq!(description.name, "virtio3/requests");
        assert_eq!(description.get("driver"), Some("9pnet_virtio"));
        assert_eq!(description.get("tag"), Some("a=b"));
        assert_eq!(description.get("size"), None);
        assert_eq!(description.summary(), "driver=9pnet_virtio, tag=a=b");
    }

    #[test]
    fn a_nameless_queue_is_called_by_its_number() {
        let description = QueueDescription::from_payload(b"", QUEUE);
        assert_eq!(description.name, "virtio3.1");
    }

    #[test]
    fn nothing_can_act_on_a_terminal() {
        let description = QueueDescription::from_payload(b"a\x1b[2J\xff\nk=\x07", QUEUE);
        assert_eq!(description.name, "a\u{fffd}[2J\u{fffd}");
        assert_eq!(description.get("k"), Some("\u{fffd}"));
    }

    #[test]
    fn comments_of_others_are_not_ours() {
        assert_eq!(QueueDescription::from_comment("eth0"), None);
        assert_eq!(
            QueueDescription::from_comment("virtscope queue\nsize=1"),
            None
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Whatever the payload, the comment fits into an option, and the
        /// reader finds the queue in it, in spite of what a property may say.
        #[test]
        fn any_payload_makes_a_comment(
            payload in proptest::collection::vec(any::<u8>(), 0..1000),
            lines in proptest::collection::vec("(queue|[a-z]{0,5})=[a-z]{0,600}", 0..60),
            (device, index) in any::<(u16, u16)>(),
        ) {
            let queue = QueueId::new(device, index);
            let common = Common { queue, ..Common::default() };
            let facts = Record::new(common, Body::QueueFacts(QueueFacts::default()));
            for payload in [payload, [b"\n", lines.join("\n").as_bytes()].concat()] {
                let description = QueueDescription::from_payload(&payload, queue);
                let comment = description.to_comment(&facts);
                prop_assert!(comment.len() <= usize::from(u16::MAX));
                let (found, _) = QueueDescription::from_comment(&comment).unwrap();
                prop_assert_eq!(found, queue);
            }
        }
    }
}
