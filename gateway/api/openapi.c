#include "openapi.h"

#include <stdio.h>
#include <string.h>

#include "check.h"
#include "json.h"
#include "openapi_shapes.h"
#include "schema_text.h"

/* One row a method and path. A test compares them with the routes of both roles. */
struct operation {
    const char *method, *path;
    unsigned roles;
    const char *summary;
    const char *request; /* schema of the body; NULL: none */
    const char *answer;  /* schema of the 200; NULL: plain text; or BINARY */
    const char *error;   /* schema of errors */
    bool can_stream;
    /* Bodies that are answered by 200, with ' for the quotation mark; each begins after {"model":NAME, */
    const char *examples[4];
};

#define BOTH   (API_REPLICA | API_GATEWAY)
#define ERROR  "#Error"
#define BINARY "binary" /* an answer that is no text */

// clang-format off
static const struct operation operations[] = {
    {"post", "/v1/chat/completions", BOTH, "Continues a conversation.", "#ChatRequest", "#ChatCompletion", ERROR, true,
     {"'messages':[{'role':'user','content':'Say hello.'}],'max_tokens':4}",
      "'messages':[{'role':'system','content':'Be brief.'},{'role':'user','content':[{'type':'text','text':'Hi'}]}],"
      "'max_tokens':4,'stream':true,'stream_options':{'include_usage':true}}",
      "'messages':[{'role':'user','content':'Hi'}],'max_tokens':3,'n':2,'logprobs':true,'top_logprobs':2,"
      "'prompt_logprobs':1,'return_token_ids':true,'service_tier':'flex','seed':7,'stop':['\\n']}"}},
    {"post", "/v1/completions", BOTH, "Continues one or several texts.", "#TextRequest", "#TextCompletion", ERROR, true,
     {"'prompt':'One, two,','max_tokens':4}", "'prompt':[[1,2,3],[4,5]],'max_tokens':3,'stream':true,'logprobs':1}",
      "'prompt':['A b c','D e'],'max_tokens':0,'echo':true,'logprobs':2,'prompt_logprobs':1,'return_token_ids':true}"}},
    {"post", "/v1/messages", BOTH, "Continues a conversation, in Anthropic's format.",
     "#MessagesRequest", "#MessagesAnswer", "#MessagesError", true,
     {"'max_tokens':4,'messages':[{'role':'user','content':'Say hello.'}]}",
      "'max_tokens':4,'stream':true,'system':'Be brief.','messages':[{'role':'user','content':'Hi'}]}"}},
    {"post", "/v1/messages/count_tokens", BOTH, "Counts the tokens of such a conversation.",
     "#MessagesCountRequest", "#MessagesCount", "#MessagesError", false,
     {"'messages':[{'role':'user','content':'Say hello.'}]}"}},
    {"post", "/v1/responses", BOTH, "Answers with items of output, and keeps the answer for later.",
     "#ResponsesRequest", "#Response", ERROR, true,
     {"'input':'Say hello.','max_output_tokens':16}",
      "'input':[{'role':'user','content':'Hi'}],'max_output_tokens':16,'store':false,'stream':true}"}},
    {"post", "/v1/responses/input_tokens", BOTH, "Counts the tokens of such a request.",
     "#ResponsesCountRequest", "#ResponsesCount", ERROR, false, {"'input':'Say hello.'}"}},
    {"get", "/v1/responses/{response_id}", BOTH, "A response that was kept.", NULL, "#Response", ERROR, false, {NULL}},
    {"delete", "/v1/responses/{response_id}", BOTH, "Forgets it.", NULL, "#ResponseDeleted", ERROR, false, {NULL}},
    {"get", "/v1/responses/{response_id}/input_items", BOTH, "What it answered.", NULL, "#ItemList", ERROR, false, {NULL}},
    {"post", "/v1/responses/{response_id}/cancel", BOTH, "Ends one that runs in the background; none does here.",
     NULL, "#Response", ERROR, false, {NULL}},
    {"post", "/v1/embeddings", BOTH, "Vectors that stand for texts; with a model that makes them.",
     "#EmbeddingRequest", "#Embeddings", ERROR, false,
     {"'input':['one','two']}", "'input':[[1,2,3]],'encoding_format':'base64','dimensions':8}"}},
    {"post", "/rerank", BOTH, "Orders documents by how well they answer a query: by a cross-encoder's score, else by the "
     "cosine of embeddings.", "#RerankRequest", "#Ranking", ERROR, false,
     {"'query':'a river','documents':['water','stone'],'top_n':1}"}},
    {"post", "/v1/rerank", BOTH, "The same.", "#RerankRequest", "#Ranking", ERROR, false,
     {"'query':'a river','documents':['water','stone'],'top_n':1}"}},
    {"post", "/v2/rerank", BOTH, "The same.", "#RerankRequest", "#Ranking", ERROR, false,
     {"'query':'a river','documents':['water','stone'],'top_n':1}"}},
    {"post", "/score", BOTH, "How well pairs of texts belong together: a cross-encoder's score, else the cosine of "
     "embeddings.", "#ScoreRequest", "#Scores", ERROR, false,
     {"'text_1':'a river','text_2':['water','stone']}"}},
    {"post", "/v1/score", BOTH, "The same.", "#ScoreRequest", "#Scores", ERROR, false,
     {"'text_1':'a river','text_2':['water','stone']}"}},
    {"get", "/v1/models", BOTH, "Lists the models, their aliases and their adapters.", NULL, "#ModelList", ERROR, false, {NULL}},
    {"get", "/v1/models/{model}", BOTH, "One model.", NULL, "#Model", ERROR, false, {NULL}},
    {"post", "/v1/load_lora_adapter", BOTH, "Loads a LoRA adapter from a folder of the server, where the config lets "
     "clients do so (allow_runtime_lora_updating); 404 else.", "#LoadAdapterRequest", NULL, ERROR, false,
     {"'lora_name':'voice','lora_path':'/adapters/voice'}"}},
    {"post", "/v1/unload_lora_adapter", BOTH, "Takes an adapter out; running requests end with it.",
     "#UnloadAdapterRequest", NULL, ERROR, false, {"'lora_name':'voice'}"}},
    {"post", "/sleep", API_REPLICA, "Gives the replica's cache back to the system and takes no requests until /wake_up; "
     "with ?level=2 the weights too. On the replica's Unix socket only; 404 else.", NULL, "#SleepState", ERROR, false, {NULL}},
    {"post", "/wake_up", API_REPLICA, "Ends the sleep.", NULL, "#SleepState", ERROR, false, {NULL}},
    {"get", "/is_sleeping", API_REPLICA, "Whether it sleeps, and how deep.", NULL, "#SleepState", ERROR, false, {NULL}},
    {"post", "/tokenize", BOTH, "The tokens of a text or of a rendered conversation.",
     "#TokenizeRequest", "#Tokens", ERROR, false,
     {"'prompt':'Some text','return_token_strs':true}", "'messages':[{'role':'user','content':'Hi'}]}"}},
    {"post", "/detokenize", BOTH, "The text of tokens.", "#DetokenizeRequest", "#Prompt", ERROR, false,
     {"'tokens':[1,2,3]}"}},
    {"get", "/tokenizer_info", BOTH, "What a client needs to know of the tokenizer.", NULL, "#TokenizerInfo", ERROR, false, {NULL}},
    {"get", "/openapi.json", BOTH, "This document.", NULL, "object", ERROR, false, {NULL}},
    {"get", "/livez", BOTH, "Whether the process works.", NULL, "#Status", "#Status", false, {NULL}},
    {"get", "/readyz", BOTH, "Whether requests would be served.", NULL, "#Status", "#Status", false, {NULL}},
    {"get", "/health", BOTH, "The same with figures.", NULL, "#Status", "#Status", false, {NULL}},
    {"get", "/version", BOTH, "The server's version.", NULL, "#Version", ERROR, false, {NULL}},
    {"get", "/stories/{request_id}", API_REPLICA, "What has happened to a request: chunks, preemptions, speculation, times. Only to its "
     "gateway, or on its Unix socket; 404 else.", NULL, "object", ERROR, false, {NULL}},
    {"get", "/flight", API_REPLICA, "The recording of the last steps, as `penstock flight` reads it. As /stories.", NULL, BINARY,
     ERROR, false, {NULL}},
    {"get", "/metrics", API_REPLICA, "Metrics in Prometheus' text format.", NULL, NULL, ERROR, false, {NULL}},
};
// clang-format on

static const struct {
    int status;
    const char *when;
    bool is_for_posts;
} errors[] = {
    {400, "The request is not valid; the error names the field, its range and what came.", false},
    {401, "The API key is missing or not known.", false},
    {404, "There is no such model, or no such thing.", false},
    {408, "The request took too long to arrive.", true},
    {409, "It is busy: a replica with requests cannot sleep.", true},
    {413, "The body is over limits.body_size.", true},
    {415, "The body is said not to be JSON.", true},
    {429, "The queue is full; retry-after and retry-after-ms say when to come again.", true},
    {431, "The header fields are over limits.header_size.", false},
    {502, "The model's replica failed.", true},
    {503, "Loading, stopping, or out of memory; retry-after-ms says when to come again.", false},
    {504, "The model's replica did not answer in time.", true},
};

static void media_write(const char *type, const char *schema, struct buffer *out)
{
    json_write_key(out, type);
    buffer_append_text(out, "{\"schema\":");
    schema_text_write(schema, out);
    buffer_append_byte(out, '}');
}

static void answer_write(const struct operation *operation, struct buffer *out)
{
    buffer_append_text(out, "\"200\":{\"description\":\"The answer.\",\"content\":{");
    if (operation->answer == NULL)
        media_write("text/plain", "string", out);
    else if (strcmp(operation->answer, BINARY) == 0)
        media_write("application/octet-stream", "string", out);
    else
        media_write("application/json", operation->answer, out);
    if (operation->can_stream)
        media_write("text/event-stream", "#Event", out);
    buffer_append_text(out, "}}");
}

static void errors_write(const struct operation *operation, struct buffer *out)
{
    for (size_t i = 0; i < ARRAY_COUNT(errors); i++) {
        if (errors[i].is_for_posts && strcmp(operation->method, "post") != 0)
            continue;
        buffer_append_format(out, ",\"%d\":{\"description\":", errors[i].status);
        json_write_text(out, errors[i].when);
        buffer_append_text(out, ",\"content\":{");
        media_write("application/json", operation->error, out);
        buffer_append_text(out, "}}");
    }
}

static void example_write(const char *example, const char *model, struct buffer *out)
{
    buffer_append_text(out, "{\"value\":{\"model\":");
    json_write_text(out, model);
    buffer_append_byte(out, ',');
    for (const char *at = example; *at != '\0'; at++)
        buffer_append_byte(out, *at == '\'' ? '"' : *at);
    buffer_append_byte(out, '}');
}

static void request_write(const struct operation *operation, const char *model, struct buffer *out)
{
    buffer_append_text(out, ",\"requestBody\":{\"required\":true,\"content\":{");
    json_write_key(out, "application/json");
    buffer_append_text(out, "{\"schema\":");
    schema_text_write(operation->request, out);
    buffer_append_text(out, ",\"examples\":{");
    for (size_t i = 0; operation->examples[i] != NULL; i++) {
        char name[16];
        snprintf(name, sizeof name, "%zu", i + 1);
        json_write_key(out, name);
        example_write(operation->examples[i], model, out);
    }
    buffer_append_text(out, "}}}}");
}

/* The one part of the path in braces. */
static void parameter_write(const char *path, const char *model, struct buffer *out)
{
    const char *name = strchr(path, '{') + 1;
    struct text_slice text = {name, strcspn(name, "}")};
    bool is_model = text_slice_is(text, "model");
    buffer_append_text(out, ",\"parameters\":[{\"name\":");
    json_write_string(out, text);
    buffer_append_text(out, ",\"in\":\"path\",\"required\":true,\"schema\":{\"type\":\"string\"}");
    json_write_key(out, "example");
    json_write_text(out, is_model ? model : "resp_0");
    buffer_append_text(out, "}]");
}

static void operation_write(const struct operation *operation, const char *model,
                            struct buffer *out)
{
    json_write_key(out, operation->method);
    buffer_append_text(out, "{\"summary\":");
    json_write_text(out, operation->summary);
    if (strchr(operation->path, '{') != NULL)
        parameter_write(operation->path, model, out);
    if (operation->request != NULL)
        request_write(operation, model, out);
    buffer_append_text(out, ",\"responses\":{");
    answer_write(operation, out);
    errors_write(operation, out);
    buffer_append_text(out, "}}");
}

void api_openapi_write(enum api_role role, const char *model, struct buffer *out)
{
    buffer_append_text(out, "{\"openapi\":\"3.1.0\",\"info\":{\"title\":\"Penstock\",\"version\":");
    json_write_text(out, PENSTOCK_VERSION);
    buffer_append_text(out, "},\"paths\":{");
    for (size_t i = 0; i < ARRAY_COUNT(operations); i++) {
        const struct operation *operation = &operations[i];
        if ((operation->roles & role) == 0)
            continue;
        json_write_key(out, operation->path); /* its methods stand together */
        buffer_append_byte(out, '{');
        operation_write(operation, model, out);
        for (; i + 1 < ARRAY_COUNT(operations) &&
               strcmp(operations[i + 1].path, operation->path) == 0;
             i++)
            operation_write(&operations[i + 1], model, out);
        buffer_append_byte(out, '}');
    }
    buffer_append_text(out, "},\"components\":{\"schemas\":{");
    openapi_shapes_write(out);
    buffer_append_text(out, "}");
    if (role == API_GATEWAY)
        buffer_append_text(out, ",\"securitySchemes\":{\"key\":{\"type\":\"http\",\"scheme\":"
                                "\"bearer\"}}},\"security\":[{},{\"key\":[]}]}");
    else
        buffer_append_text(out, "}}");
}
