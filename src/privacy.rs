//! L2: masks, burned in before anything looks at a picture.
