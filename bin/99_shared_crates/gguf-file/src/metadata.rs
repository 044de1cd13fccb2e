use std::{
    collections::{BTreeMap, HashMap, HashSet},
    io::{Read, Seek},
};

use crate::{
    GgufSummary,
    header::{Header, Problem},
    purpose::Purpose,
    template::Template,
    vocabulary::{Gap, LONGEST},
};

const MAX_KEY_LEN: u64 = 65_535;
/// A longer name of a model is not a name.
const MAX_NAME_LEN: u64 = 1024;
/// Of a longer template it is not known what it shows.
const MAX_TEMPLATE_LEN: u64 = 1 << 20;
const MAX_ELEMENTS: u64 = 1 << 30;
const DEFAULT_ALIGNMENT: u64 = 32;
const MAX_ALIGNMENT: u64 = 1 << 20;

const BOOL: u32 = 7;
const STRING: u32 = 8;
const ARRAY: u32 = 9;

/// The usual template; behind a full stop, the name of another one.
const TEMPLATE: &str = "tokenizer.chat_template";
const TOKENS: &str = "tokenizer.ggml.tokens";
/// Whether a token sees earlier ones only, behind the architecture.
const CAUSAL: &str = "attention.causal";
/// The classes of texts, behind the architecture.
const LABELS: &str = "classifier.output_labels";

/// What is kept of the key-value pairs.
pub(crate) struct Metadata {
    numbers: HashMap<String, u64>,
    texts: HashMap<String, String>,
    flags: HashMap<String, bool>,
    /// How many elements arrays have.
    counts: HashMap<String, u64>,
    templates: BTreeMap<String, Template>,
    gap: Gap,
}

impl Metadata {
    pub(crate) fn read<R: Read + Seek>(
        header: &mut Header<R>,
        count: u64,
    ) -> Result<Self, Problem> {
        let mut metadata = Self {
            numbers: HashMap::new(),
            texts: HashMap::new(),
            flags: HashMap::new(),
            counts: HashMap::new(),
            templates: BTreeMap::new(),
            gap: Gap::default(),
        };
        let mut keys = HashSet::new();
        for _ in 0..count {
            let at = header.at();
            let key = header.text("a key", MAX_KEY_LEN)?;
            if !keys.insert(key.clone()) {
                return Err(Problem::DuplicateKey { key, at });
            }
            metadata.value(header, key)?;
        }
        Ok(metadata)
    }

    pub(crate) fn alignment(&self) -> Result<u64, Problem> {
        const KEY: &str = "general.alignment";
        let alignment = self.numbers.get(KEY).copied().unwrap_or(DEFAULT_ALIGNMENT);
        if self.texts.contains_key(KEY) || !alignment.is_power_of_two() || alignment > MAX_ALIGNMENT
        {
            return Err(Problem::BadKey { key: KEY, expected: "a small power of two" });
        }
        Ok(alignment)
    }

    pub(crate) fn summary(
        mut self,
        tensor_count: u64,
        tensor_bytes: u64,
        file_size: u64,
    ) -> Result<GgufSummary, Problem> {
        const KEY: &str = "general.architecture";
        if let Some(&count) = self.numbers.get("split.count").filter(|&&count| count > 1) {
            return Err(Problem::Split { count });
        }
        let architecture = self.texts.remove(KEY).filter(|text| !text.is_empty());
        let architecture = architecture.ok_or(Problem::BadKey { key: KEY, expected: "text" })?;
        let number = |key: &str| self.numbers.get(&format!("{architecture}.{key}")).copied();
        let causal = self.flags.get(&format!("{architecture}.{CAUSAL}")).is_none_or(|is| *is);
        let labels = self.counts.get(&format!("{architecture}.{LABELS}")).copied();
        let pooling = number("pooling_type");
        Ok(GgufSummary {
            name: self.texts.remove("general.name"),
            context_length: number("context_length"),
            block_count: number("block_count"),
            embedding_length: number("embedding_length"),
            head_count: number("attention.head_count"),
            head_count_kv: number("attention.head_count_kv"),
            purpose: Purpose::stated(&architecture, pooling, causal, labels),
            causal,
            fills_gaps: self.gap.is_whole(),
            templates: self.templates,
            architecture,
            tensor_count,
            tensor_bytes,
            file_size,
        })
    }

    fn value<R: Read + Seek>(
        &mut self,
        header: &mut Header<R>,
        key: String,
    ) -> Result<(), Problem> {
        let at = header.at();
        let value_type = header.u32("the type of a value")?;
        self.gap.key(&key);
        match value_type {
            STRING => {
                if let Some(name) = template_name(&key) {
                    let text = header.short_text(&format!("`{key}`"), MAX_TEMPLATE_LEN)?;
                    let shown = text.map(|text| Template::of(&String::from_utf8_lossy(&text)));
                    self.templates.insert(name.to_owned(), shown.unwrap_or_default());
                } else if matches!(key.as_str(), "general.architecture" | "general.name") {
                    let text = header.text(&format!("`{key}`"), MAX_NAME_LEN)?;
                    self.texts.insert(key, text);
                } else {
                    header.skip_text(&format!("`{key}`"))?;
                }
            }
            ARRAY => {
                let gap = Some(&mut self.gap).filter(|_| key == TOKENS);
                let count = array(header, &key, gap)?;
                self.counts.insert(key, count);
            }
            BOOL => {
                let [value] = header.bytes(&format!("`{key}`"))?;
                self.flags.insert(key, value != 0);
            }
            _ => {
                let Some(len) = scalar_len(value_type) else {
                    return Err(Problem::UnknownType { key, at, value_type });
                };
                if let Some(number) = scalar(header, value_type, len, &key)? {
                    self.numbers.insert(key, number);
                }
            }
        }
        Ok(())
    }
}

/// What the template with that key is called, if it is one's key.
fn template_name(key: &str) -> Option<&str> {
    match key.strip_prefix(TEMPLATE)? {
        "" => Some(""),
        named => named.strip_prefix('.'),
    }
}

/// The value of an unsigned integer, or of a signed one that is not negative.
fn scalar<R: Read + Seek>(
    header: &mut Header<R>,
    value_type: u32,
    len: u64,
    key: &str,
) -> Result<Option<u64>, Problem> {
    let what = format!("`{key}`");
    Ok(match value_type {
        0 => Some(u64::from(header.bytes::<1>(&what)?[0])),
        1 => u64::try_from(i8::from_le_bytes(header.bytes(&what)?)).ok(),
        2 => Some(u64::from(u16::from_le_bytes(header.bytes(&what)?))),
        3 => u64::try_from(i16::from_le_bytes(header.bytes(&what)?)).ok(),
        4 => Some(u64::from(header.u32(&what)?)),
        5 => u64::try_from(i32::from_le_bytes(header.bytes(&what)?)).ok(),
        10 => Some(header.u64(&what)?),
        11 => u64::try_from(i64::from_le_bytes(header.bytes(&what)?)).ok(),
        _ => {
            header.skip(len, &what)?;
            None
        }
    })
}

/// How many elements it has; a vocabulary is looked through for tokens of a `gap`.
///
/// Arrays of arrays are refused: no model has them, and llama.cpp does not read them.
fn array<R: Read + Seek>(
    header: &mut Header<R>,
    key: &str,
    mut gap: Option<&mut Gap>,
) -> Result<u64, Problem> {
    let at = header.at();
    let element_type = header.u32("the type of an array's elements")?;
    let what = format!("elements of `{key}`");
    if element_type == STRING {
        let count = header.count(&what, MAX_ELEMENTS, 8)?;
        for _ in 0..count {
            match &mut gap {
                Some(gap) => {
                    if let Some(token) = header.short_text(&what, LONGEST as u64)? {
                        gap.token(&token);
                    }
                }
                None => header.skip_text(&what)?,
            }
        }
        return Ok(count);
    }
    let Some(len) = scalar_len(element_type) else {
        return Err(Problem::UnknownType { key: key.to_owned(), at, value_type: element_type });
    };
    let count = header.count(&what, MAX_ELEMENTS, len)?;
    header.skip(count * len, &what)?;
    Ok(count)
}

/// Bytes of a number or a truth value.
fn scalar_len(value_type: u32) -> Option<u64> {
    match value_type {
        0 | 1 | 7 => Some(1),
        2 | 3 => Some(2),
        4..=6 => Some(4),
        10..=12 => Some(8),
        _ => None,
    }
}
