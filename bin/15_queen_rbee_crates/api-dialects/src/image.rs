use crate::request::{ImageUrl, Part};

/// A picture of that media type, in base64.
pub(crate) fn of_media(media_type: &str, data: &str) -> Part {
    of_url(format!("data:{media_type};base64,{data}"))
}

pub(crate) fn of_url(url: String) -> Part {
    Part::ImageUrl { image_url: ImageUrl { url } }
}
