//! Greedy non-maximum suppression within each label, and the order detections leave this stage in.

use crate::base::types::Detection;

/// Sorts by falling score and drops every box that overlaps a better one of the same label by more than `iou`.
pub fn suppress(mut found: Vec<Detection>, iou: f32) -> Vec<Detection> {
    found.sort_by(Detection::by_score_then_place);
    let mut kept: Vec<Detection> = Vec::new();
    for candidate in found {
        if kept.iter().all(|k| k.label != candidate.label || k.bbox.iou(&candidate.bbox) <= iou) {
            kept.push(candidate);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::geometry::PixelBox;
    use proptest::prelude::*;

    fn detection(left: f32, label: &str, score: f32) -> Detection {
        Detection { bbox: PixelBox { left, top: 10.0, width: 20.0, height: 40.0 }, label: label.into(), score }
    }

    #[test]
    fn the_weaker_of_two_equal_boxes_goes_unless_it_is_something_else() {
        let kept = suppress(
            vec![detection(10.0, "person", 0.4), detection(11.0, "person", 0.9), detection(10.0, "dog", 0.3)],
            0.5,
        );
        assert_eq!(kept, vec![detection(11.0, "person", 0.9), detection(10.0, "dog", 0.3)]);
    }

    proptest! {
        #[test]
        fn what_is_kept_does_not_depend_on_the_order_of_the_input(
            mut boxes in prop::collection::vec((0f32..100.0, 0.1f32..1.0), 0..12), rotate in 0usize..12
        ) {
            let make = |b: &[(f32, f32)]| b.iter().map(|(l, s)| detection(*l, "person", *s)).collect::<Vec<_>>();
            let kept = suppress(make(&boxes), 0.5);
            let n = boxes.len().max(1);
            boxes.rotate_left(rotate % n);
            prop_assert_eq!(kept, suppress(make(&boxes), 0.5));
        }
    }
}
