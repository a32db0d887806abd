//! Middles, percentiles, and how numbers are written.

/// Returns the middle value; of an even number of values, what lies between the two in the middle.
#[must_use]
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    let [lower, upper] = [last / 2, last.div_ceil(2)].map(|index| values.get(index).copied());
    Some(f64::midpoint(lower?, upper?))
}

/// Returns the value below which `share` of the values lie.
#[must_use]
pub fn percentile(mut values: Vec<f64>, share: f64) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index, of far fewer values than 2^52"
    )]
    let index = (values.len().saturating_sub(1) as f64 * share).round() as usize;
    values.get(index).copied()
}

/// Writes a number with three digits that count.
pub(crate) fn figure(value: Option<f64>) -> String {
    let Some(value) = value else {
        return "–".to_owned();
    };
    let (scaled, suffix) = match value.abs() {
        size if size >= 999_500.0 => (value / 1e6, "M"),
        size if size >= 9_995.0 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let digits = match scaled.abs() {
        size if size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        _ => 2,
    };
    let digits = if value.abs() < 0.0995 { 3 } else { digits };
    format!("{scaled:.digits$}{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_with_three_digits() {
        let written = [
            0.0123,
            0.5,
            1.0,
            12.34,
            123.4,
            1234.0,
            12_345.0,
            1_234_567.0,
        ]
        .map(Some);
        let expected = [
            "0.012", "0.50", "1.00", "12.3", "123", "1234", "12.3k", "1.23M",
        ];
        assert_eq!(written.map(figure), expected);
        assert_eq!(figure(None), "–");
    }

    #[test]
    fn the_middle_of_an_even_number_of_values_is_between_two() {
        assert_eq!(median(vec![4.0, 1.0, 3.0, 2.0]), Some(2.5));
        assert_eq!(median(vec![4.0, 1.0, 3.0]), Some(3.0));
        assert_eq!(median(Vec::new()), None);
    }
}
