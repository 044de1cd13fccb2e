/// Builds a GGUF file field by field, so that a test can get any of them wrong.
#[derive(Clone)]
pub(crate) struct Gguf {
    pub(crate) magic: [u8; 4],
    pub(crate) version: u32,
    /// Type and value, encoded.
    pub(crate) keys: Vec<(String, Vec<u8>)>,
    pub(crate) tensors: Vec<Tensor>,
    pub(crate) key_count: Option<u64>,
    pub(crate) tensor_count: Option<u64>,
}

#[derive(Clone)]
pub(crate) struct Tensor {
    pub(crate) name: String,
    pub(crate) shape: Vec<u64>,
    pub(crate) kind: u32,
    pub(crate) offset: u64,
    /// Bytes, without padding.
    pub(crate) size: u64,
}

pub(crate) const ALIGNMENT: u64 = 32;

impl Gguf {
    /// A whole file with a bit of everything, whose weights take about `weights` bytes.
    pub(crate) fn whole(weights: u64) -> Self {
        let elements = weights.div_ceil(4).max(1);
        let quantised = elements.div_ceil(32) * 20;
        Self {
            magic: *b"GGUF",
            version: 3,
            keys: Vec::new(),
            tensors: vec![
                tensor("a.weight", &[elements], 0, 0, elements * 4),
                tensor(
                    "b.weight",
                    &[32, elements.div_ceil(32)],
                    3,
                    (elements * 4).next_multiple_of(ALIGNMENT),
                    quantised,
                ),
            ],
            key_count: None,
            tensor_count: None,
        }
        .text("general.architecture", "llama")
        .text("general.name", "a small model")
        .number("llama.context_length", 2048)
        .number("llama.block_count", 2)
        .text("tokenizer.chat_template", "{{ messages }}")
        .key("general.float", &[6_u32.to_le_bytes(), 1.5_f32.to_le_bytes()].concat())
        .key(
            "tokenizer.ggml.tokens",
            &array(8, 3, &[string("a"), string(""), string("c")].concat()),
        )
        .key("tokenizer.ggml.scores", &array(6, 2, &[0; 8]))
    }

    pub(crate) fn text(self, key: &str, value: &str) -> Self {
        self.key(key, &[8_u32.to_le_bytes().to_vec(), string(value)].concat())
    }

    pub(crate) fn number(self, key: &str, value: u32) -> Self {
        self.key(key, &[4_u32.to_le_bytes(), value.to_le_bytes()].concat())
    }

    pub(crate) fn key(mut self, key: &str, value: &[u8]) -> Self {
        self.keys.push((key.into(), value.into()));
        self
    }

    pub(crate) fn without(mut self, key: &str) -> Self {
        self.keys.retain(|(name, _)| name != key);
        self
    }

    /// Everything before the weights.
    pub(crate) fn header(&self) -> Vec<u8> {
        let mut bytes = self.magic.to_vec();
        bytes.extend(self.version.to_le_bytes());
        let tensor_count = self.tensor_count.unwrap_or(self.tensors.len() as u64);
        bytes.extend(tensor_count.to_le_bytes());
        bytes.extend(self.key_count.unwrap_or(self.keys.len() as u64).to_le_bytes());
        for (key, value) in &self.keys {
            bytes.extend(string(key));
            bytes.extend(value);
        }
        for tensor in &self.tensors {
            bytes.extend(string(&tensor.name));
            bytes.extend((tensor.shape.len() as u32).to_le_bytes());
            tensor.shape.iter().for_each(|length| bytes.extend(length.to_le_bytes()));
            bytes.extend(tensor.kind.to_le_bytes());
            bytes.extend(tensor.offset.to_le_bytes());
        }
        bytes
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.header();
        let data = bytes.len().next_multiple_of(ALIGNMENT as usize);
        let end = self.tensors.last().map_or(0, |tensor| tensor.offset + tensor.size);
        bytes.resize(data, 0);
        bytes.extend((0..end).map(|at| (at % 251) as u8));
        bytes
    }
}

pub(crate) fn tensor(name: &str, shape: &[u64], kind: u32, offset: u64, size: u64) -> Tensor {
    Tensor { name: name.into(), shape: shape.into(), kind, offset, size }
}

pub(crate) fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

pub(crate) fn array(element_type: u32, count: u64, elements: &[u8]) -> Vec<u8> {
    let mut bytes = 9_u32.to_le_bytes().to_vec();
    bytes.extend(element_type.to_le_bytes());
    bytes.extend(count.to_le_bytes());
    bytes.extend(elements);
    bytes
}
