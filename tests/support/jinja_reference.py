"""jinja2 as transformers sets it up for chat templates (transformers/utils/chat_template_utils.py), without transformers."""
import datetime
import functools
import json

import jinja2
import jinja2.ext
from jinja2.sandbox import ImmutableSandboxedEnvironment

CONTINUE_TAG = "CONTINUE_FINAL_MESSAGE_TAG "


class GenerationTag(jinja2.ext.Extension):
    """{% generation %}: a scope of its own, the text as it is."""
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_render"), [], [], body).set_lineno(line)

    def _render(self, caller):
        return caller()


class Namespace(jinja2.utils.Namespace):
    def __init__(*args, **kwargs):
        self, args = args[0], args[1:]
        attributes = dict(*args, **kwargs)
        for name in attributes:
            Namespace.check(name)
        jinja2.utils.Namespace.__init__(self, attributes)

    def __setitem__(self, name, value):
        Namespace.check(name)
        jinja2.utils.Namespace.__setitem__(self, name, value)

    @staticmethod
    def check(name):
        if isinstance(name, str) and name.startswith("_"):
            raise jinja2.exceptions.SecurityError(name)


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def environment(now):
    env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True,
                                        extensions=[GenerationTag, jinja2.ext.loopcontrols])
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = now.strftime
    env.globals["namespace"] = Namespace
    return env


@functools.lru_cache(maxsize=8)
def compiled(source, wall_ms):
    return environment(datetime.datetime.fromtimestamp(wall_ms / 1000)).from_string(source)


def alias_reasoning(messages):
    aliased = []
    for message in messages:
        names = ("reasoning_content", "thinking", "reasoning")
        reasoning = next((message[name] for name in names if message.get(name) is not None), None)
        if reasoning is not None:
            message = {"thinking": reasoning, **message, "reasoning_content": reasoning}
        aliased.append(message)
    return aliased


def tag_final(messages):
    """Marks the end of the last message's text; -> that text."""
    content = messages[-1].get("content")
    if content is None:
        raise ValueError("nothing to continue")
    if isinstance(content, str):
        messages[-1]["content"] = content + CONTINUE_TAG
        return content
    for part in reversed(content):
        if "text" in part:
            text = part["text"]
            part["text"] += CONTINUE_TAG
            return text
    raise ValueError("no text to continue")


def cut_at_tag(prompt, final):
    if final.strip() not in prompt or CONTINUE_TAG.strip() not in prompt:
        raise ValueError("the final message is not in the prompt")
    at = prompt.rindex(CONTINUE_TAG.strip())
    if prompt[at:at + len(CONTINUE_TAG)] == CONTINUE_TAG:
        return prompt[:at]
    return prompt[:at].rstrip()


def render(request):
    """The same request that tests/support/template_tool.c takes -> the prompt; raises where the library does."""
    request = json.loads(json.dumps(request))
    template = compiled(request["template"], request["wall_ms"])
    messages = alias_reasoning(request["messages"])
    final = tag_final(messages) if request.get("continue_final_message") else None
    if final is not None and "content" not in request["template"]:
        raise ValueError("the template reads no content")
    prompt = template.render(**{
        "messages": messages, "tools": request.get("tools"), "documents": request.get("documents"),
        "add_generation_prompt": request.get("add_generation_prompt", False), "bos_token": request.get("bos_token") or "",
        "eos_token": request.get("eos_token") or "", **(request.get("variables") or {})})
    return prompt if final is None else cut_at_tag(prompt, final)
