//! The list of requirements: `docs/conformance/requirements.toml`.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, ensure};
use serde::Deserialize;

/// The whole list, in the standard's order.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct Requirements {
    #[serde(rename = "section")]
    pub(crate) sections: Vec<Section>,
}

/// What one section of the standard says.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct Section {
    /// Its number, as `2.7.13.3.1`.
    pub(crate) number: String,
    /// Its heading.
    pub(crate) title: String,
    #[serde(rename = "requirement")]
    pub(crate) requirements: Vec<Requirement>,
}

/// One sentence.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub(crate) struct Requirement {
    /// `role/section/number`, as `driver/2.7.13.3.1/1`.
    pub(crate) id: String,
    pub(crate) kind: Kind,
    /// The phrase that the sentence continues, if it stands in a list.
    pub(crate) lead: Option<String>,
    /// The sentence.
    pub(crate) text: String,
    /// Why it does not concern this project.
    pub(crate) not_applicable: Option<String>,
    /// Why a driver can't see whether a device keeps it.
    pub(crate) unobservable: Option<String>,
}

/// What binds whom how much.
#[derive(Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// "MUST", "MUST NOT".
    Must,
    /// "SHOULD", "SHOULD NOT", "RECOMMENDED".
    Should,
    /// "MAY", "OPTIONAL".
    May,
    /// None of these words, and yet the other side relies on it.
    Statement,
}

/// Who is bound.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Role {
    Driver,
    Device,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Driver => "driver",
            Self::Device => "device",
        })
    }
}

/// The parts of an id: role, section and number. `None` if `text` is no id.
pub(crate) fn parse_id(text: &str) -> Option<(Role, &str, u32)> {
    let mut parts = text.split('/');
    let (role, section, number) = (parts.next()?, parts.next()?, parts.next()?);
    let role = match role {
        "driver" => Role::Driver,
        "device" => Role::Device,
        _ => return None,
    };
    let is_number = |digits: &str| {
        let digits = digits.as_bytes();
        !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
    };
    let is_id = parts.next().is_none() && section.split('.').all(is_number) && is_number(number);
    is_id.then(|| Some((role, section, number.parse().ok()?)))?
}

impl Requirement {
    /// Who is bound. The list is [checked](Requirements::parse) for it.
    pub(crate) fn role(&self) -> Role {
        if self.id.starts_with("driver/") {
            Role::Driver
        } else {
            Role::Device
        }
    }

    /// Why it needs no test, if so.
    pub(crate) fn reason(&self) -> Option<&str> {
        self.not_applicable
            .as_deref()
            .or(self.unobservable.as_deref())
    }

    /// Whether a test must show it.
    pub(crate) fn is_due(&self) -> bool {
        self.kind != Kind::May && self.reason().is_none()
    }

    fn check(&self, section: &str, last: &mut BTreeMap<Role, u32>) -> anyhow::Result<()> {
        let id = &self.id;
        let (role, in_section, number) =
            parse_id(id).with_context(|| format!("{id:?} is no id: role/section/number"))?;
        ensure!(in_section == section, "{id} stands in section {section}");
        let last = last.entry(role).or_default();
        ensure!(
            number == *last + 1,
            "{id} follows {role}/{section}/{last}: ids count up from 1"
        );
        *last = number;
        ensure!(!self.text.trim().is_empty(), "{id} has no text");
        ensure!(
            self.not_applicable.is_none() || self.unobservable.is_none(),
            "{id} has two reasons"
        );
        if let Some(reason) = self.reason() {
            ensure!(!reason.trim().is_empty(), "{id} has an empty reason");
            ensure!(self.kind != Kind::May, "{id}: a MAY needs no reason");
        }
        ensure!(
            self.unobservable.is_none() || role == Role::Device,
            "{id}: a driver can observe what it does itself"
        );
        Ok(())
    }
}

impl Requirements {
    /// Reads the list and checks that it is in order.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let list: Self = toml::from_str(text)?;
        let mut before: Vec<u32> = Vec::new();
        for section in &list.sections {
            let number = &section.number;
            let parts: Result<Vec<u32>, _> = number.split('.').map(str::parse).collect();
            let parts = parts.with_context(|| format!("{number:?} is no section number"))?;
            ensure!(before < parts, "section {number} is not in its place");
            before = parts;
            let mut last = BTreeMap::new();
            for requirement in &section.requirements {
                requirement.check(number, &mut last)?;
            }
        }
        Ok(list)
    }

    /// All of them, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Requirement> {
        self.sections
            .iter()
            .flat_map(|section| &section.requirements)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("driver/2.7/1", Some((Role::Driver, "2.7", 1)))]
    #[case("device/2.7.13.3.1/12", Some((Role::Device, "2.7.13.3.1", 12)))]
    #[case("devise/2.7/1", None)]
    #[case("driver/2.7", None)]
    #[case("driver/2.7/1/1", None)]
    #[case("driver/2..7/1", None)]
    #[case("driver/2.7/", None)]
    #[case("driver/2.7/+1", None)]
    #[case("driver/2.7/99999999999", None)]
    #[case("driver/device/lib.rs", None)]
    fn an_id_has_a_role_a_section_and_a_number(
        #[case] text: &str,
        #[case] parts: Option<(Role, &str, u32)>,
    ) {
        assert_eq!(parse_id(text), parts);
    }

    fn list(section: &str, requirements: &[&str]) -> anyhow::Result<Requirements> {
        let mut text = format!("[[section]]\nnumber = {section:?}\ntitle = \"Virtqueues\"\n");
        for requirement in requirements {
            text.push_str("[[section.requirement]]\n");
            text.push_str(requirement);
        }
        Requirements::parse(&text)
    }

    const FIRST: &str = "id = \"driver/2.7/1\"\nkind = \"must\"\ntext = \"MUST.\"\n";

    #[test]
    fn what_needs_a_test_is_a_requirement_without_a_reason() {
        let may = "id = \"driver/2.7/2\"\nkind = \"may\"\ntext = \"MAY.\"\n";
        let excused = "id = \"device/2.7/1\"\nkind = \"should\"\ntext = \"SHOULD.\"\nunobservable = \"inside\"\n";
        let list = list("2.7", &[FIRST, may, excused]).unwrap();
        let due: Vec<bool> = list.iter().map(Requirement::is_due).collect();
        assert_eq!(due, [true, false, false]);
        let roles: Vec<Role> = list.iter().map(Requirement::role).collect();
        assert_eq!(roles, [Role::Driver, Role::Driver, Role::Device]);
    }

    #[rstest]
    #[case::another_section("2.8", &[FIRST], "stands in section 2.8")]
    #[case::twice("2.7", &[FIRST, FIRST], "ids count up from 1")]
    #[case::no_id("2.7", &["id = \"driver 2.7\"\nkind = \"must\"\ntext = \"MUST.\"\n"], "is no id")]
    #[case::no_number("II", &[FIRST], "is no section number")]
    #[case::no_text("2.7", &["id = \"driver/2.7/1\"\nkind = \"must\"\ntext = \" \"\n"], "has no text")]
    #[case::no_reason("2.7", &["id = \"driver/2.7/1\"\nkind = \"must\"\ntext = \"MUST.\"\nnot_applicable = \"\"\n"], "empty reason")]
    #[case::unseen_by_itself("2.7", &["id = \"driver/2.7/1\"\nkind = \"must\"\ntext = \"MUST.\"\nunobservable = \"inside\"\n"], "can observe")]
    fn mistakes_in_the_list_are_named(
        #[case] section: &str,
        #[case] requirements: &[&str],
        #[case] says: &str,
    ) {
        let error = list(section, requirements).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }

    #[test]
    fn sections_stand_in_the_standards_order() {
        let section = |number: &str| {
            format!("[[section]]\nnumber = {number:?}\ntitle = \"\"\nrequirement = []\n")
        };
        let order = |numbers: &[&str]| {
            let text: String = numbers.iter().map(|number| section(number)).collect();
            Requirements::parse(&text).is_ok()
        };
        assert!(order(&["2.7", "2.7.1", "2.7.10", "3.1"]));
        assert!(!order(&["2.7.10", "2.7.9"]));
        assert!(!order(&["2.7", "2.7"]));
    }
}
