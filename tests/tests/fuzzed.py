"""What schemathesis is told of a queen: which models there are, and that answers are to be short."""

import zlib

import schemathesis

MODELS = ("words", "vectors")
# What says how much is computed, and the most of it here.
BOUNDS = {"max_tokens": 4, "max_completion_tokens": 4, "max_output_tokens": 4, "num_predict": 4, "n": 2}


def bounded(value):
    """The same without what would only take long."""
    if isinstance(value, dict):
        return {name: smaller(name, bounded(one)) for name, one in value.items()}
    return [bounded(one) for one in value] if isinstance(value, list) else value


def smaller(name, value):
    most = BOUNDS.get(name)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    # Below nothing is without end.
    return most if most and is_number and not 0 <= value <= most else value


@schemathesis.hook
def before_call(context, case, kwargs):
    body = case.body
    if not isinstance(body, dict):
        return
    body = bounded(body)
    model = body.get("model")
    # A name that was made up would hardly ever be one; every eighth stays.
    drawn = zlib.crc32(repr(body).encode("utf-8", "surrogatepass"))
    if isinstance(model, str) and drawn % 8:
        body["model"] = MODELS[drawn // 8 % len(MODELS)]
    case.body = body
