use std::{
    collections::HashSet,
    io::{Read, Seek},
};

use crate::header::{Header, Problem};

const MAX_DIMENSIONS: u32 = 4;
/// Of ggml, without the zero at the end.
const MAX_NAME_LEN: u64 = 63;

/// Checks that each tensor lies where it has to and inside of the file, and adds up their bytes.
///
/// Tensors follow one another in the order of the header, each at the next multiple of
/// `alignment`: llama.cpp reads them no other way.
pub(crate) fn check<R: Read + Seek>(
    header: &mut Header<R>,
    count: u64,
    alignment: u64,
) -> Result<u64, Problem> {
    if count == 0 {
        return Err(Problem::NoTensors);
    }
    let mut names = HashSet::new();
    let mut expected_offset = 0_u64;
    let mut total = 0_u64;
    let mut last = None;
    for _ in 0..count {
        let at = header.at();
        let tensor = header.text("a tensor's name", MAX_NAME_LEN)?;
        let wrong = |problem: String| Problem::Tensor { tensor: tensor.clone(), at, problem };
        if !names.insert(tensor.clone()) {
            return Err(wrong("occurs twice".into()));
        }
        let size = size(header, &wrong)?;
        let offset = header.u64("a tensor's offset")?;
        if offset != expected_offset {
            return Err(wrong(format!("has the offset {offset} where {expected_offset} is due")));
        }
        let next = offset.checked_add(size).and_then(|end| end.checked_next_multiple_of(alignment));
        expected_offset = next.ok_or_else(|| wrong("is impossibly large".into()))?;
        // Cannot overflow: it is at most the offset that was just checked.
        total += size;
        last = Some((tensor, offset + size));
    }
    let data = header.at().next_multiple_of(alignment);
    match last {
        // The last one ends last, so the others are inside when it is.
        Some((tensor, end)) if data.saturating_add(end) > header.len() => {
            let end = data.saturating_add(end);
            Err(Problem::TensorOutside { tensor, end, len: header.len() })
        }
        _ => Ok(total),
    }
}

/// The bytes of the next tensor, by its shape and type.
fn size<R: Read + Seek>(
    header: &mut Header<R>,
    wrong: &impl Fn(String) -> Problem,
) -> Result<u64, Problem> {
    let dimensions = header.u32("a tensor's number of dimensions")?;
    if dimensions > MAX_DIMENSIONS {
        return Err(wrong(format!("has {dimensions} dimensions; the most is {MAX_DIMENSIONS}")));
    }
    let mut elements = 1_u64;
    let mut row = 1;
    for dimension in 0..dimensions {
        let length = header.u64("a tensor's shape")?;
        if dimension == 0 {
            row = length;
        }
        let product = elements.checked_mul(length).filter(|&product| product <= i64::MAX as u64);
        elements = product.ok_or_else(|| wrong("is impossibly large".into()))?;
    }
    let number = header.u32("a tensor's type")?;
    let Some((block_elements, block_bytes)) = block(number) else {
        return Err(wrong(format!("has the type {number}, which is not known")));
    };
    if row % block_elements != 0 {
        return Err(wrong(format!("has rows of {row}, no multiple of {block_elements}")));
    }
    let bytes = (elements / block_elements).checked_mul(block_bytes);
    bytes.ok_or_else(|| wrong("is impossibly large".into()))
}

/// Elements and bytes of one block of the ggml type `number`.
fn block(number: u32) -> Option<(u64, u64)> {
    Some(match number {
        0 | 26 => (1, 4),      // F32, I32
        1 | 25 | 30 => (1, 2), // F16, I16, BF16
        24 => (1, 1),          // I8
        27 | 28 => (1, 8),     // I64, F64
        2 | 20 => (32, 18),    // Q4_0, IQ4_NL
        3 => (32, 20),         // Q4_1
        6 => (32, 22),         // Q5_0
        7 => (32, 24),         // Q5_1
        8 => (32, 34),         // Q8_0
        9 => (32, 36),         // Q8_1
        10 => (256, 84),       // Q2_K
        11 | 21 => (256, 110), // Q3_K, IQ3_S
        12 => (256, 144),      // Q4_K
        13 => (256, 176),      // Q5_K
        14 => (256, 210),      // Q6_K
        15 => (256, 292),      // Q8_K
        16 | 35 => (256, 66),  // IQ2_XXS, TQ2_0
        17 => (256, 74),       // IQ2_XS
        18 => (256, 98),       // IQ3_XXS
        19 => (256, 50),       // IQ1_S
        22 => (256, 82),       // IQ2_S
        23 => (256, 136),      // IQ4_XS
        29 => (256, 56),       // IQ1_M
        34 => (256, 54),       // TQ1_0
        39 => (32, 17),        // MXFP4
        40 => (64, 36),        // NVFP4
        41 => (128, 18),       // Q1_0
        42 => (64, 18),        // Q2_0
        _ => return None,
    })
}
