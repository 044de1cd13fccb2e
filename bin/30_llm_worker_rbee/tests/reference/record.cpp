// Decodes a prompt and some tokens after it with llama.cpp's C interface and prints, as JSON, the
// prompt's token ids and the most probable next tokens with their log-probabilities, which are the
// logits less one number a step, after the prompt and after each of the tokens that follow it.
//
//     record MODEL STEPS PROMPT [FOLLOWING_IDS]
//
// Without FOLLOWING_IDS, separated by commas, it follows the most probable token, STEPS times; with
// them it follows those, so that builds can be compared on the same tokens.

#include "llama.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <sstream>
#include <string>
#include <vector>

static const int top = 5;

static std::vector<llama_token> parse(const char * text) {
    std::vector<llama_token> ids;
    std::stringstream stream(text);
    for (std::string id; std::getline(stream, id, ',');) {
        ids.push_back(std::atoi(id.c_str()));
    }
    return ids;
}

static void check(bool ok, const char * what) {
    if (!ok) {
        std::fprintf(stderr, "cannot %s\n", what);
        std::exit(1);
    }
}

int main(int argc, char ** argv) {
    check(argc == 4 || argc == 5, "read the arguments");
    const int steps = std::atoi(argv[2]);
    const std::string text = argv[3];
    const std::vector<llama_token> following = argc == 5 ? parse(argv[4]) : std::vector<llama_token>();

    llama_backend_init();
    llama_model_params model_params = llama_model_default_params();
    model_params.n_gpu_layers = 0;
    llama_model * model = llama_model_load_from_file(argv[1], model_params);
    check(model != nullptr, "load the model");
    llama_context_params params = llama_context_default_params();
    params.n_ctx = 512;
    params.n_batch = 512;
    params.n_threads = params.n_threads_batch = 1;
    llama_context * context = llama_init_from_model(model, params);
    check(context != nullptr, "make a context");
    const llama_vocab * vocab = llama_model_get_vocab(model);
    const int vocabulary = llama_vocab_n_tokens(vocab);

    std::vector<llama_token> next(text.size() + 8);
    const int count = llama_tokenize(vocab, text.data(), (int) text.size(), next.data(), (int) next.size(), true, true);
    check(count > 0, "tokenise the prompt");
    next.resize(count);
    std::printf("{\"prompt\":[");
    for (int i = 0; i < count; i++) {
        std::printf("%s%d", i ? "," : "", next[i]);
    }
    std::printf("],\"steps\":[");
    for (int step = 0; step < steps; step++) {
        check(llama_decode(context, llama_batch_get_one(next.data(), (int) next.size())) == 0, "decode");
        const float * logits = llama_get_logits_ith(context, -1);
        double sum = 0;
        for (int i = 0; i < vocabulary; i++) {
            sum += std::exp((double) logits[i]);
        }
        std::vector<int> order(vocabulary);
        std::iota(order.begin(), order.end(), 0);
        std::partial_sort(order.begin(), order.begin() + top, order.end(),
                          [&](int a, int b) { return logits[a] > logits[b]; });
        std::printf("%s[", step ? ",\n" : "");
        for (int i = 0; i < top; i++) {
            std::printf("%s[%d,%.4f]", i ? "," : "", order[i], logits[order[i]] - std::log(sum));
        }
        std::printf("]");
        next = { step < (int) following.size() ? following[step] : order[0] };
    }
    std::printf("]}\n");
    llama_free(context);
    llama_model_free(model);
    return 0;
}
