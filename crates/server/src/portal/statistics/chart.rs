//! Line charts as SVG, drawn on the server: from zero, lines labelled where they end, the time before lightly behind. Only
//! geometry is here; colours are classes of the style sheet, words come from whoever asks.

/// The box: units of the `viewBox`.
const WIDTH: u64 = 480;
const HEIGHT: u64 = 160;
/// Room for the scale, for the labels at the lines' ends, and for the times below; enough for a phone's larger letters.
const LEFT: u64 = 44;
const RIGHT: u64 = 84;
const TOP: u64 = 10;
const BOTTOM: u64 = 22;
/// Labels nearer than this lie over each other.
const LABEL_HEIGHT: u64 = 14;
/// Each of few points is a dot that tells its value; more of them would make the page heavy.
const MAX_DOTS: usize = 14;

/// One line.
pub(super) struct Line {
    /// A class of the style sheet: `sent`, `valid`, `before`.
    pub(super) class: &'static str,
    pub(super) label: &'static str,
    pub(super) values: Vec<u64>,
}

/// A line, ready to draw.
pub(super) struct DrawnLine {
    pub(super) class: &'static str,
    pub(super) label: &'static str,
    pub(super) points: String,
    /// From the last time that is over to the one that is going on, which is drawn apart: its value still grows. Empty where
    /// there is none.
    pub(super) going: String,
    pub(super) label_x: u64,
    pub(super) label_y: u64,
}

/// A point that tells its value to whoever points at it.
pub(super) struct Dot {
    pub(super) class: &'static str,
    pub(super) x: u64,
    pub(super) y: u64,
    pub(super) said: String,
}

/// A line of the scale.
pub(super) struct Rule {
    pub(super) y: u64,
    pub(super) label_y: u64,
    pub(super) label: String,
}

/// A time under the chart.
pub(super) struct Mark {
    pub(super) x: u64,
    pub(super) anchor: &'static str,
    pub(super) label: String,
}

/// A chart.
pub(super) struct Chart {
    pub(super) title: &'static str,
    /// What is to be seen, in a sentence.
    pub(super) sentence: String,
    pub(super) lines: Vec<DrawnLine>,
    pub(super) dots: Vec<Dot>,
    pub(super) rules: Vec<Rule>,
    pub(super) marks: Vec<Mark>,
    /// Where the lines begin, and where they end.
    pub(super) left: u64,
    pub(super) right: u64,
}

impl Chart {
    /// Draws lines over the same times, of which the last may be going on still. `written` writes a value.
    pub(super) fn draw(
        title: &'static str,
        sentence: String,
        (labels, is_open): (&[String], bool),
        lines: &[Line],
        written: &dyn Fn(u64) -> String,
    ) -> Self {
        let most = lines.iter().flat_map(|line| &line.values).copied().max().unwrap_or(0);
        let top = round_up(most);
        let steps = u64::try_from(labels.len().saturating_sub(1)).unwrap_or(0);
        let x_of = |place: usize| {
            let place = u64::try_from(place).unwrap_or(0).min(steps);
            LEFT + (WIDTH - LEFT - RIGHT) * place / steps.max(1)
        };
        let y_of = |value: u64| {
            let rise = u128::from(value) * u128::from(HEIGHT - TOP - BOTTOM) / u128::from(top);
            HEIGHT - BOTTOM - u64::try_from(rise).unwrap_or(0)
        };
        let mut drawn: Vec<DrawnLine> = lines
            .iter()
            .map(|line| {
                let values = &line.values[..line.values.len().min(labels.len())];
                let points: Vec<String> = values
                    .iter()
                    .enumerate()
                    .map(|(place, &value)| format!("{},{}", x_of(place), y_of(value)))
                    .collect();
                // What was is over, and so is whatever ends before the others.
                let goes_on = is_open && line.class != "before" && points.len() == labels.len() && points.len() > 1;
                let over = points.len() - usize::from(goes_on);
                DrawnLine {
                    class: line.class,
                    label: line.label,
                    points: points[..over].join(" "),
                    going: if goes_on {
                        points[over - 1..].join(" ")
                    } else {
                        String::new()
                    },
                    label_x: x_of(values.len().saturating_sub(1)) + 6,
                    label_y: y_of(values[..over].last().copied().unwrap_or(0)) + 3,
                }
            })
            .collect();
        spread(&mut drawn);
        let few = labels.len() <= MAX_DOTS;
        let dots = lines
            .iter()
            .filter(|line| few && line.class != "before")
            .flat_map(|line| {
                line.values
                    .iter()
                    .zip(labels)
                    .enumerate()
                    .map(move |(place, (&value, label))| Dot {
                        class: line.class,
                        x: x_of(place),
                        y: y_of(value),
                        said: format!("{label}: {} {}", written(value), line.label.to_lowercase()),
                    })
            })
            .collect();
        let rules = [top, top / 2, 0].map(|value| Rule {
            y: y_of(value),
            label_y: y_of(value) + 3,
            label: written(value),
        });
        Self {
            title,
            sentence,
            lines: drawn,
            dots,
            rules: rules.into(),
            marks: marks(labels, x_of),
            left: LEFT,
            right: WIDTH - RIGHT,
        }
    }
}

/// First, middle and last time.
fn marks(labels: &[String], x_of: impl Fn(usize) -> u64) -> Vec<Mark> {
    let last = labels.len().saturating_sub(1);
    let mut marks: Vec<Mark> = Vec::new();
    for (place, anchor) in [(0, "start"), (last / 2, "middle"), (last, "end")] {
        let known = marks.iter().any(|mark| mark.x == x_of(place));
        if let (Some(label), false) = (labels.get(place), known) {
            marks.push(Mark {
                x: x_of(place),
                anchor,
                label: label.clone(),
            });
        }
    }
    marks
}

/// Moves labels apart, from the top down, and up again where they would fall off.
fn spread(lines: &mut [DrawnLine]) {
    let mut order: Vec<usize> = (0..lines.len()).collect();
    order.sort_by_key(|&place| lines[place].label_y);
    let mut least = 0;
    for &place in &order {
        lines[place].label_y = lines[place].label_y.max(least);
        least = lines[place].label_y + LABEL_HEIGHT;
    }
    let mut most = HEIGHT - BOTTOM + 4;
    for &place in order.iter().rev() {
        lines[place].label_y = lines[place].label_y.min(most);
        most = lines[place].label_y.saturating_sub(LABEL_HEIGHT);
    }
}

/// The next number up that halves well: 2, 4, 6, 8 or 10 times a power of ten.
fn round_up(most: u64) -> u64 {
    let mut power = 1_u64;
    while most > power.saturating_mul(10) {
        power = power.saturating_mul(10);
    }
    [2, 4, 6, 8, 10]
        .into_iter()
        .map(|step| power.saturating_mul(step))
        .find(|&top| top >= most)
        .unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_end_at_round_numbers() {
        for (most, top) in [
            (0, 2),
            (1, 2),
            (3, 4),
            (10, 10),
            (11, 20),
            (870, 1000),
            (61_000, 80_000),
        ] {
            assert_eq!(round_up(most), top, "{most}");
        }
    }

    #[test]
    fn lines_begin_at_zero_and_their_labels_stand_apart() {
        let line = |class, values: &[u64]| Line {
            class,
            label: class,
            values: values.to_vec(),
        };
        let labels = ["a".to_owned(), "b".to_owned(), "c".to_owned()];
        let lines = [
            line("sent", &[0, 5, 10]),
            line("valid", &[0, 4, 10]),
            line("before", &[1, 2]),
        ];
        let chart = Chart::draw("T", "S".into(), (&labels, false), &lines, &|value| value.to_string());
        assert_eq!(chart.lines[0].points, "44,138 220,74 396,10");
        assert_eq!(chart.lines[2].points, "44,126 220,113");
        let mut at: Vec<u64> = chart.lines.iter().map(|line| line.label_y).collect();
        at.sort_unstable();
        assert!(at.windows(2).all(|pair| pair[1] - pair[0] >= LABEL_HEIGHT), "{at:?}");
        assert_eq!(chart.dots.len(), 6);
        assert_eq!(chart.marks.len(), 3);
    }
    #[test]
    fn a_time_that_is_not_over_is_drawn_apart_and_its_line_is_labelled_where_it_was_last_whole() {
        let line = |class, values: &[u64]| Line {
            class,
            label: class,
            values: values.to_vec(),
        };
        let labels = ["a".to_owned(), "b".to_owned(), "c".to_owned()];
        let lines = [line("sent", &[0, 10, 1]), line("before", &[4, 4, 4])];
        let chart = Chart::draw("T", "S".into(), (&labels, true), &lines, &|value| value.to_string());
        assert_eq!(chart.lines[0].points, "44,138 220,10");
        assert_eq!(chart.lines[0].going, "220,10 396,126");
        assert_eq!((chart.lines[0].label_x, chart.lines[0].label_y), (402, 13));
        assert_eq!(chart.lines[1].going, "");
        let first = Chart::draw("T", "S".into(), (&labels[..1], true), &lines, &|value| {
            value.to_string()
        });
        assert_eq!(
            (first.lines[0].points.as_str(), first.lines[0].going.as_str()),
            ("44,138", "")
        );
    }
}
