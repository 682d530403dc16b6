//! A request's life as a bar.

use ratatui::style::Style;
use virtscope_analyzer::{Life, Outcome, Phases};
use virtscope_record::Timestamp;

use super::canvas::Canvas;
use super::number::cells;
use super::theme::Theme;

/// What goes on during a part of a life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Part {
    /// Add → kick decision.
    Queued,
    /// Kick decision → the device takes it.
    Waiting,
    /// The device has it.
    Service,
    /// The device has put it into the used ring → callback.
    Returned,
    /// Kick decision → callback, where the device's half was not seen.
    Device,
    /// Callback → used.
    Harvest,
}

impl Part {
    /// In the order of a life.
    pub(super) const ALL: [Self; 6] = [
        Self::Queued,
        Self::Waiting,
        Self::Service,
        Self::Returned,
        Self::Device,
        Self::Harvest,
    ];

    /// The character it is drawn with: told apart without colour.
    pub(super) const fn symbol(self) -> &'static str {
        match self {
            Self::Queued => "·",
            Self::Waiting => "-",
            Self::Service => "█",
            Self::Returned => "=",
            Self::Device => "▒",
            Self::Harvest => ">",
        }
    }

    /// One word for the legend.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Waiting => "waiting",
            Self::Service => "service",
            Self::Returned => "returned",
            Self::Device => "device",
            Self::Harvest => "harvest",
        }
    }

    /// One line for the help.
    pub(super) const fn explain(self) -> &'static str {
        match self {
            Self::Queued => "added, until it was decided whether to kick",
            Self::Waiting => "until the device took it",
            Self::Service => "the device works on it",
            Self::Returned => {
                "the device is done, until a callback announces it (or a poll finds it)"
            }
            Self::Device => "kick decision to callback, where the device's half is not seen",
            Self::Harvest => "callback, until the driver takes it back",
        }
    }

    pub(super) const fn style(self, theme: &Theme) -> Style {
        match self {
            Self::Queued => theme.queued,
            Self::Waiting => theme.waiting,
            Self::Service | Self::Device => theme.service,
            Self::Returned => theme.returned,
            Self::Harvest => theme.harvest,
        }
    }
}

/// The parts of a life with their nanoseconds. Of one in flight, up to `now`;
/// nothing of an incomplete one.
pub(super) fn parts(life: &Life, now: Option<Timestamp>) -> Vec<(Part, u64)> {
    match life.outcome {
        Outcome::Complete(phases) => complete(life, phases),
        Outcome::InFlight => in_flight(life, now),
        Outcome::Incomplete(_) => Vec::new(),
    }
}

/// How long a life took, or has taken until `now`.
pub(super) fn length_ns(life: &Life, now: Option<Timestamp>) -> Option<u64> {
    match life.outcome {
        Outcome::InFlight => Some(now?.nanos_since(life.moments.added?)),
        Outcome::Complete(phases) => Some(phases.total_ns()),
        Outcome::Incomplete(_) => life.total_ns(),
    }
}

fn complete(life: &Life, phases: Phases) -> Vec<(Part, u64)> {
    let mut parts = vec![(Part::Queued, phases.queued_ns)];
    let m = &life.moments;
    if let (Some(added), Some(taken), Some(returned)) = (m.added, m.taken, m.returned) {
        // The device may run before the kick decision and behind the callback;
        // the phases do not overlap, so neither does what is drawn inside.
        let since_kick = |moment: Timestamp| {
            let ns = moment.nanos_since(added);
            ns.saturating_sub(phases.queued_ns).min(phases.device_ns)
        };
        let taken = since_kick(taken);
        let returned = since_kick(returned).max(taken);
        parts.push((Part::Waiting, taken));
        parts.push((Part::Service, returned - taken));
        parts.push((Part::Returned, phases.device_ns - returned));
    } else {
        parts.push((Part::Device, phases.device_ns));
    }
    parts.push((Part::Harvest, phases.harvest_ns));
    parts
}

fn in_flight(life: &Life, now: Option<Timestamp>) -> Vec<(Part, u64)> {
    let m = &life.moments;
    let (Some(added), Some(now)) = (m.added, now) else {
        return Vec::new();
    };
    let seen = [
        (Part::Queued, m.kicked),
        (Part::Waiting, m.taken),
        (Part::Service, m.returned),
        (Part::Returned, m.callback),
        (Part::Harvest, None),
    ];
    let unseen = [
        (Part::Queued, m.kicked),
        (Part::Device, m.callback),
        (Part::Harvest, None),
    ];
    let steps: &[(Part, Option<Timestamp>)] = if life.device_half_seen {
        &seen
    } else {
        &unseen
    };
    let mut parts = Vec::new();
    let mut from = added;
    for (part, until) in steps {
        let to = until.unwrap_or(now).max(from);
        parts.push((*part, to.nanos_since(from)));
        from = to;
        if until.is_none() {
            break;
        }
    }
    parts
}

/// Draws `parts` so that `scale_ns` fills the canvas's width; what is longer is
/// cut with an ellipsis.
pub(super) fn draw(canvas: &mut Canvas<'_>, parts: &[(Part, u64)], scale_ns: u64) {
    let total = total(parts);
    let width = usize::from(canvas.width());
    let is_cut = total > scale_ns;
    let shown = total.min(scale_ns);
    let length = cells(shown as f64, scale_ns as f64, width);
    let theme = canvas.theme;
    let mut x = 0;
    for cell in 0..length {
        if is_cut && cell + 1 == length {
            canvas.text(x, 0, "…", theme.warn);
            return;
        }
        let middle = (cell as f64 + 0.5) / length as f64 * shown as f64;
        let part = part_at(parts, middle);
        x = canvas.text(x, 0, part.symbol(), part.style(theme));
    }
}

fn total(parts: &[(Part, u64)]) -> u64 {
    parts
        .iter()
        .fold(0, |sum, (_, ns)| u64::saturating_add(sum, *ns))
}

/// Which part `ns` falls into; the last one behind the end.
fn part_at(parts: &[(Part, u64)], ns: f64) -> Part {
    let mut end = 0.0;
    for (part, length) in parts {
        end += *length as f64;
        if ns < end {
            return *part;
        }
    }
    parts.last().map_or(Part::Queued, |(part, _)| *part)
}

#[cfg(test)]
mod tests {
    use ratatui::buffer::{Buffer, Cell};
    use ratatui::layout::Rect;

    use super::super::tests::lives;
    use super::*;

    fn drawn(parts: &[(Part, u64)], scale_ns: u64, width: u16) -> String {
        let theme = Theme::plain();
        let mut buffer = Buffer::empty(Rect::new(0, 0, width, 1));
        draw(&mut Canvas::new(&mut buffer, &theme), parts, scale_ns);
        buffer.content().iter().map(Cell::symbol).collect()
    }

    #[test]
    fn a_bar_is_as_long_as_its_life() {
        let parts = [
            (Part::Queued, 10),
            (Part::Waiting, 20),
            (Part::Service, 40),
            (Part::Returned, 10),
            (Part::Harvest, 20),
        ];
        assert_eq!(drawn(&parts, 100, 10), "·--████=>>");
        // At half the length, a cell shows what holds in its middle.
        assert_eq!(drawn(&parts, 200, 10), "-██=>     ");
        assert_eq!(drawn(&parts, 50, 10), "··----███…");
        assert_eq!(drawn(&parts, 1_000_000, 10), "█         ");
        assert_eq!(drawn(&[], 100, 4), "    ");
        assert_eq!(drawn(&[(Part::Queued, 0)], 0, 4), "    ");
    }

    #[test]
    fn the_parts_of_a_complete_life_add_up_to_it() {
        for life in lives() {
            let parts = parts(&life, None);
            if let Some(phases) = life.phases() {
                assert_eq!(total(&parts), phases.total_ns());
                assert_eq!(length_ns(&life, None), Some(phases.total_ns()));
            }
        }
    }

    #[test]
    fn a_life_in_flight_lasts_until_now() {
        for life in lives() {
            if life.outcome == Outcome::InFlight {
                let now = Timestamp::from_nanos(u64::MAX);
                let parts = parts(&life, Some(now));
                assert_eq!(Some(total(&parts)), length_ns(&life, Some(now)));
            }
        }
    }
}
