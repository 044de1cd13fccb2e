use crate::request::{ImageUrl, Part};

/// A picture of which only the bytes are known, in base64.
pub(crate) fn of_base64(data: &str) -> Part {
    // How files of these kinds begin, in base64.
    let kinds = [("/9j/", "jpeg"), ("R0lG", "gif"), ("UklG", "webp"), ("iVBO", "png")];
    let kind = kinds.iter().find(|(start, _)| data.starts_with(start)).map_or("png", |kind| kind.1);
    of_media(&format!("image/{kind}"), data)
}

/// A picture of that media type, in base64.
pub(crate) fn of_media(media_type: &str, data: &str) -> Part {
    of_url(format!("data:{media_type};base64,{data}"))
}

pub(crate) fn of_url(url: String) -> Part {
    Part::ImageUrl { image_url: ImageUrl { url } }
}
