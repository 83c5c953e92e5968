//! Optimal assignment: which track takes which detection, so that the sum over all pairs is best. Pure.
//!
//! The Hungarian method by shortest augmenting paths (Kuhn 1955; Jonker and Volgenant 1987), O(rows² · columns): a
//! crowded frame of a hundred objects takes about a millisecond.

/// Pairs (row, column) that maximise the sum of `gain(row, column)`; `None` and gains that are not positive are never
/// paired. Among equal sums the choice depends on the order of rows and columns alone.
pub fn assign(rows: usize, columns: usize, gain: impl Fn(usize, usize) -> Option<f64>) -> Vec<(usize, usize)> {
    if rows == 0 || columns == 0 {
        return Vec::new();
    }
    // Each row also has a column of its own that means "stays alone", at no gain; so every row can be assigned.
    let width = columns + rows;
    let cost: Vec<f64> = (0..rows * width)
        .map(|i| (i / width, i % width))
        .map(|(r, c)| match c < columns {
            true => -gain(r, c).filter(|g| g.is_finite() && *g > 0.0).unwrap_or(0.0),
            false => 0.0,
        })
        .collect();
    let row_of = solve(rows, width, &cost);
    let mut pairs: Vec<_> =
        (0..columns).filter_map(|c| row_of[c].map(|r| (r, c))).filter(|(r, c)| cost[r * width + c] < 0.0).collect();
    pairs.sort_unstable();
    pairs
}

/// Assigns every row at least cost; gives the row of each column. `columns` is not less than `rows`.
fn solve(rows: usize, columns: usize, cost: &[f64]) -> Vec<Option<usize>> {
    let (mut row_price, mut column_price) = (vec![0.0; rows], vec![0.0; columns]);
    let mut row_of: Vec<Option<usize>> = vec![None; columns];
    for start in 0..rows {
        // Dijkstra from the free row over reduced costs, until a free column is reached.
        let mut distance = vec![f64::INFINITY; columns];
        let mut via: Vec<Option<usize>> = vec![None; columns];
        let mut done = vec![false; columns];
        let (mut row, mut column) = (start, None);
        let last = loop {
            let (mut nearest, mut step) = (None, f64::INFINITY);
            for c in (0..columns).filter(|c| !done[*c]) {
                let reduced = cost[row * columns + c] - row_price[row] - column_price[c];
                if reduced < distance[c] {
                    distance[c] = reduced;
                    via[c] = column;
                }
                if distance[c] < step {
                    (nearest, step) = (Some(c), distance[c]);
                }
            }
            let Some(next) = nearest else { return row_of };
            // Keeping the prices in step leaves the reduced costs of the tree at zero.
            row_price[start] += step;
            for c in 0..columns {
                match (done[c], row_of[c]) {
                    (true, Some(r)) => {
                        row_price[r] += step;
                        column_price[c] -= step;
                    }
                    _ => distance[c] -= step,
                }
            }
            done[next] = true;
            column = Some(next);
            match row_of[next] {
                Some(r) => row = r,
                None => break next,
            }
        };
        // Turn the path round: every column on it takes the row of the one before.
        let mut c = last;
        while let Some(before) = via[c] {
            row_of[c] = row_of[before];
            c = before;
        }
        row_of[c] = Some(start);
    }
    row_of
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The best sum by trying everything.
    fn brute(gains: &[Vec<f64>], row: usize, taken: u32) -> f64 {
        if row == gains.len() {
            return 0.0;
        }
        let alone = brute(gains, row + 1, taken);
        (0..gains[row].len())
            .filter(|c| taken & (1 << c) == 0 && gains[row][*c] > 0.0)
            .map(|c| gains[row][c] + brute(gains, row + 1, taken | 1 << c))
            .fold(alone, f64::max)
    }

    #[test]
    fn a_greedy_choice_is_undone_for_a_better_whole() {
        let gains = [[0.9, 0.8], [0.85, 0.1]];
        assert_eq!(assign(2, 2, |r, c| Some(gains[r][c])), [(0, 1), (1, 0)]);
    }

    #[test]
    fn what_may_not_be_paired_stays_alone() {
        assert_eq!(assign(2, 2, |r, c| (r == c && r == 1).then_some(0.5)), [(1, 1)]);
        assert_eq!(assign(1, 2, |_, _| Some(f64::NAN)), []);
        assert_eq!(assign(0, 3, |_, _| Some(1.0)), []);
    }

    proptest! {
        #[test]
        fn the_sum_is_the_best_there_is(
            (columns, gains) in (1usize..6).prop_flat_map(|c| {
                (Just(c), prop::collection::vec(prop::collection::vec(-0.5f64..1.0, c), 1..6))
            })
        ) {
            let pairs = assign(gains.len(), columns, |r, c| Some(gains[r][c]));
            let sum: f64 = pairs.iter().map(|(r, c)| gains[*r][*c]).sum();
            prop_assert!((sum - brute(&gains, 0, 0)).abs() < 1e-9, "{} {:?}", sum, pairs);
            let mut columns: Vec<_> = pairs.iter().map(|p| p.1).collect();
            columns.sort_unstable();
            columns.dedup();
            prop_assert_eq!(columns.len(), pairs.len());
        }
    }
}
