#ifndef PENSTOCK_GATEWAY_API_TOOL_PROMPT_H
#define PENSTOCK_GATEWAY_API_TOOL_PROMPT_H

#include <stdbool.h>

#include "json.h"
#include "status.h"

/* Tools for a model whose chat template knows none, in the form hermes:
 *
 *  - the system message, or a new one before all others, ends with the tools as JSON and how to call them:
 *
 *        You can call functions. These are the functions, each as JSON:
 *        <tools>
 *        {"type": "function", "function": {...}}
 *        </tools>
 *        To call one, write its name and its arguments as JSON between these tags, a pair of tags for each call:
 *        <tool_call>
 *        {"name": "the function's name", "arguments": {"an argument's name": "its value"}}
 *        </tool_call>
 *        You then get the results between <tool_response> tags.
 *
 *  - calls in an assistant's message become its text, in that form;
 *  - messages of tools become one of the user, each result between <tool_response> tags. */

/* The messages with all that; `messages` as request parsing leaves them (content is text, arguments are objects), `tools` NULL:
 * none. The caller's reference in `*out`. STATUS_OK or STATUS_NO_MEMORY. */
NODISCARD status tool_prompt_messages(const json_t *messages, const json_t *tools, json_t **out);

/* The same as Phi-4-mini was trained: the functions as a JSON list between <|tool|> and <|/tool|> behind the system's text,
 * calls as a list between <|tool_call|> and <|/tool_call|>, results as messages of the role tool_response. `has_member`: the
 * template writes the list and its marks itself, from the system message's member "tools". */
NODISCARD status tool_prompt_messages_phi4(const json_t *messages, const json_t *tools,
                                           bool has_member, json_t **out);

#endif
