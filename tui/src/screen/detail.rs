//! One request: when what happened, what the ring knows, what was said.

use ratatui::layout::Rect;
use ratatui::text::Line;
use virtscope_analyzer::{Announcement, Life, Outcome, format_duration};
use virtscope_record::Timestamp;

use super::app::App;
use super::canvas::Canvas;
use super::message;
use super::number::{exact, share};
use super::requests::summary;
use super::theme::Theme;
use super::waterfall;
use super::words::Words;
use crate::fit::wrap;

/// From this width on, the messages stand beside the facts.
const WIDE: u16 = 150;
/// Columns of the facts then.
const FACTS: u16 = 78;
/// Rows above what scrolls: the summary and the bar.
const TOP: u16 = 3;

/// Draws the request in detail.
pub(super) fn draw(canvas: &mut Canvas<'_>, app: &App) {
    let Some(life) = &app.detail else {
        canvas.text(1, 0, "No request is chosen.", app.theme.dim);
        return;
    };
    top(canvas, app, life);
    let height = canvas.height().saturating_sub(TOP);
    let mut body = canvas.rows(TOP, height);
    let width = body.width();
    let (facts, messages) = columns_of(life, app, width);
    if width < WIDE {
        let all: Vec<_> = facts.into_iter().chain(messages).collect();
        body.lines_or_more(&all, app.detail_scroll);
    } else {
        body.part(Rect::new(0, 0, FACTS, height))
            .lines(&facts, app.detail_scroll);
        body.part(Rect::new(FACTS, 0, width - FACTS, height))
            .lines(&messages, app.detail_scroll);
    }
}

/// Rows that the whole of it needs.
pub(super) fn height(life: &Life, app: &App, body: Rect) -> usize {
    let (facts, messages) = columns_of(life, app, body.width);
    let scrolled = if body.width < WIDE {
        facts.len() + messages.len()
    } else {
        facts.len().max(messages.len())
    };
    scrolled + usize::from(TOP)
}

fn top(canvas: &mut Canvas<'_>, app: &App, life: &Life) {
    let theme = &app.theme;
    let queue = app.snapshot.queue(life.queue);
    let name = queue.map_or_else(|| life.queue.to_string(), |queue| queue.name.clone());
    let line = Words::new(theme)
        .styled(format!(" {} ", life.number), theme.heading)
        .dim(format!("{name}  "))
        .styled(summary(life), theme.strong)
        .line();
    canvas.line(0, 0, &line);
    let now = app.snapshot.now;
    let parts = waterfall::parts(life, now);
    let scale = waterfall::length_ns(life, now).unwrap_or(0);
    let width = canvas.width().saturating_sub(2);
    waterfall::draw(&mut canvas.part(Rect::new(1, 1, width, 1)), &parts, scale);
}

fn columns_of(life: &Life, app: &App, width: u16) -> (Vec<Line<'static>>, Vec<Line<'static>>) {
    let room = if width < WIDE { width } else { FACTS };
    let mut facts = outcome(&app.theme, life, app.snapshot.now, room);
    facts.push(Line::default());
    facts.extend(moments(app, life));
    facts.push(Line::default());
    facts.extend(ring(&app.theme, life));
    facts.push(Line::default());
    let room = if width < WIDE { width } else { width - FACTS };
    (facts, messages(&app.theme, life, room.into()))
}

fn outcome(theme: &Theme, life: &Life, now: Option<Timestamp>, width: u16) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    let words = Words::labelled(theme, "outcome");
    match life.outcome {
        Outcome::Complete(phases) => {
            let total = phases.total_ns();
            let how = match phases.announcement {
                Announcement::Callback => "announced by a callback",
                Announcement::Polled => "polled: no callback announced it",
            };
            lines.push(
                words
                    .styled("complete", theme.good)
                    .text(format!(" in {}, {how}", format_duration(total)))
                    .line(),
            );
            for (label, ns) in [
                ("queued", phases.queued_ns),
                ("device", phases.device_ns),
                ("harvest", phases.harvest_ns),
            ] {
                let part = share(ns as f64, total as f64);
                let service = life.service_ns().filter(|_| label == "device");
                lines.push(
                    Words::labelled(theme, &format!("  {label}"))
                        .text(format!("{:>9}  {part:>7}", format_duration(ns)))
                        .when(service, |words, ns| {
                            words.dim(format!(
                                "  the device worked on it for {}",
                                format_duration(ns)
                            ))
                        })
                        .line(),
                );
            }
        }
        Outcome::InFlight => {
            let age = waterfall::length_ns(life, now).map(format_duration);
            let words = words.styled("in flight", theme.warn);
            lines.push(
                words
                    .when(age, |words, age| words.text(format!(" for {age}")))
                    .line(),
            );
        }
        Outcome::Incomplete(why) => {
            let text = format!("incomplete: {}", why.explain());
            let parts = wrap(&text, usize::from(width.saturating_sub(12)));
            for (i, part) in parts.into_iter().enumerate() {
                let label = if i == 0 { "outcome" } else { "" };
                lines.push(Words::labelled(theme, label).styled(part, theme.bad).line());
            }
        }
    }
    if let Some(error) = life.error {
        lines.push(
            Words::labelled(theme, "error")
                .styled(error.to_string(), theme.bad)
                .line(),
        );
    }
    let subject = &life.subject;
    let flushed = [
        (subject.given_up, "given up by a Tflush"),
        (
            subject.answered_while_flushed,
            "answered, though a Tflush had given it up",
        ),
    ];
    for (_, how) in flushed.into_iter().filter(|(is, _)| *is) {
        lines.push(Words::labelled(theme, "flushed").text(how).line());
    }
    for anomaly in &life.anomalies {
        lines.push(
            Words::labelled(theme, "wrong")
                .styled(anomaly.to_string(), theme.bad)
                .line(),
        );
    }
    lines
}

fn moments(app: &App, life: &Life) -> Vec<Line<'static>> {
    let theme = &app.theme;
    let m = &life.moments;
    let device = if life.device_half_seen {
        "not seen"
    } else {
        "not seen: only the device knows"
    };
    let polled = life
        .phases()
        .is_some_and(|phases| phases.announcement == Announcement::Polled);
    let callback = if polled {
        "none: it was polled"
    } else {
        "not seen"
    };
    let thread = if life.context.is_interrupt() {
        format!("{}; thread {} was interrupted", life.context, life.thread)
    } else {
        format!(
            "{}, process {} thread {}",
            life.context, life.process, life.thread
        )
    };
    let kick = match life.kick {
        Some(kick) if kick.needed => "sent",
        Some(_) => "suppressed",
        None => "",
    };
    let interrupt = match life.interrupted {
        Some(true) => "sent",
        Some(false) => "suppressed",
        None => "",
    };
    let rows = [
        ("added", m.added, thread.as_str(), "not seen"),
        ("kick", m.kicked, kick, "no decision seen"),
        ("taken", m.taken, "by the device", device),
        ("returned", m.returned, "by the device", device),
        (
            "interrupt",
            m.interrupt_sent,
            interrupt,
            if life.interrupted == Some(false) {
                "suppressed"
            } else {
                device
            },
        ),
        ("callback", m.callback, "", callback),
        ("used", m.used, "taken back by the driver", "not yet"),
    ];
    let began = life.began();
    let mut lines = vec![
        Words::new(theme)
            .styled(" moment     since the add   into the run", theme.heading)
            .line(),
    ];
    for (label, moment, seen, unseen) in rows {
        let words = Words::labelled(theme, label);
        let Some(moment) = moment else {
            lines.push(words.dim(unseen).line());
            continue;
        };
        let since = began.map_or(0, |began| moment.nanos_since(began));
        let into = app
            .snapshot
            .first
            .map_or(0, |first| moment.nanos_since(first));
        lines.push(
            words
                .text(format!("{:>14}", format!("+{}", format_duration(since))))
                .dim(format!("{:>15}  ", seconds(into)))
                .text(seen)
                .line(),
        );
    }
    lines
}

/// With every nanosecond: `12.345678901 s`.
fn seconds(ns: u64) -> String {
    format!("{}.{:09} s", ns / 1_000_000_000, ns % 1_000_000_000)
}

fn ring(theme: &Theme, life: &Life) -> Vec<Line<'static>> {
    let shape = &life.shape;
    let index = |index: Option<virtscope_record::RingIndex>| {
        index.map_or_else(|| "not seen".to_owned(), |index| index.to_string())
    };
    let kind = if shape.indirect { "indirect" } else { "direct" };
    let used = life.used_length.map_or_else(
        || "not yet".to_owned(),
        |length| format!("{} bytes written", exact(length.into())),
    );
    let overlap = if life.overlap_ns > 0 {
        let least = if life.device_half_seen {
            ""
        } else {
            "at least "
        };
        format!(
            "the device had it {least}{} before the kick decision",
            format_duration(life.overlap_ns)
        )
    } else {
        "none seen".to_owned()
    };
    let order = if life.out_of_order {
        "used while one added earlier was in flight"
    } else {
        "none added earlier was in flight when it was used"
    };
    let mut lines = vec![
        Words::new(theme).styled(" ring", theme.heading).line(),
        Words::labelled(theme, "buffer")
            .item("head", life.head.to_string())
            .item("token", life.token.to_string())
            .item("generation", life.generation.0.to_string())
            .line(),
        Words::labelled(theme, "index")
            .item("available", index(life.position))
            .item("used", index(life.used_position))
            .line(),
        Words::labelled(theme, "segments")
            .item("readable", shape.readable_segments.to_string())
            .item("writable", shape.writable_segments.to_string())
            .item("descriptors", format!("{}, {kind}", shape.descriptors))
            .line(),
        Words::labelled(theme, "bytes")
            .item("readable", exact(shape.readable_bytes.into()))
            .item("writable", exact(shape.writable_bytes.into()))
            .item("used", used)
            .line(),
        Words::labelled(theme, "kick").text(kick_text(life)).line(),
        Words::labelled(theme, "overlap").text(overlap).line(),
    ];
    if life.moments.used.is_some() {
        lines.push(Words::labelled(theme, "order").text(order).line());
    }
    lines
}

fn kick_text(life: &Life) -> String {
    let Some(kick) = life.kick else {
        return "no decision seen".to_owned();
    };
    let verdict = if kick.needed { "sent" } else { "suppressed" };
    let raced = if kick.raced { " (raced)" } else { "" };
    let batch = exact(kick.batch.into());
    format!("{verdict}: {}{raced}; {batch} in this batch", kick.reason)
}

fn messages(theme: &Theme, life: &Life, width: usize) -> Vec<Line<'static>> {
    let mut lines = message::lines(
        theme,
        "request, device-readable",
        &life.request,
        life.request_9p(),
        width,
    );
    let subject = &life.subject;
    if subject.dialect_guessed && !life.request.bytes.is_empty() {
        let read = format!(
            " read as {}, by guess: no Tversion was seen",
            subject.dialect
        );
        lines.insert(0, Words::new(theme).styled(read, theme.warn).line());
    }
    lines.push(Line::default());
    if life.moments.used.is_some() {
        lines.extend(message::lines(
            theme,
            "reply, device-written",
            &life.reply,
            life.reply_9p(),
            width,
        ));
    } else {
        lines.push(
            Words::new(theme)
                .styled(" reply", theme.heading)
                .dim("  none yet")
                .line(),
        );
    }
    lines
}
