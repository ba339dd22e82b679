"""lm-eval on local tasks: lm_eval_client.py URL OUT TASKS. Writes its scores and what it heard for each item as one JSON
document; test_other_clients.py judges it."""
import json
import os
import pathlib
import sys

import lm_eval
from lm_eval.tasks import TaskManager


def run(model, arguments, task, **options):
    result = lm_eval.simple_evaluate(model=model, model_args={"model": "smollm2", **arguments}, tasks=[task],
                                     task_manager=TaskManager(include_path=".", include_defaults=False),
                                     bootstrap_iters=0, **options)
    samples = sorted(result["samples"][task], key=lambda sample: sample["doc_id"])
    return {"scores": result["results"][task], "heard": [sample["resps"] for sample in samples],
            "items": [sample["doc"] for sample in samples]}


def main():
    url, out, tasks = sys.argv[1:]
    os.chdir(tasks)  # the data files' names in the tasks are relative to them
    answer = {
        "facts": run("local-completions", {"base_url": url + "/v1/completions"}, "penstock_facts"),
        "facts_in_batches": run("local-completions", {"base_url": url + "/v1/completions", "num_concurrent": 3},
                                "penstock_facts", batch_size=4),
        "capitals": run("local-chat-completions", {"base_url": url + "/v1/chat/completions"}, "penstock_capitals",
                        apply_chat_template=True),
    }
    pathlib.Path(out).write_text(json.dumps(answer), encoding="utf-8")


if __name__ == "__main__":
    main()
