"""MarianMT of Hugging Face, trained on the stored examples of a problem: the peer of benchmarks/quality_a_minute.py.

    VENV/bin/python benchmarks/peers/marian.py EXAMPLES.npz POINTS.jsonl UPDATES EVALUATIONS SEED [NAME=VALUE ...]

EXAMPLES.npz is what `quality_a_minute.export` writes. POINTS.jsonl gets a line first about the model, then one for each
evaluation: updates, seconds of training, and the ids that greedy decoding writes for each dev example. The clock runs
in updates, the making of their batches included, and stands still in evaluations. NAME=VALUE changes a setting.
"""

import json
import math
import sys
import time

import numpy as np

PAD, END = 0, 1  # ids, as this project has them
DEV_ROWS = 100  # decoded at once
# Chosen by BLEU on dev of tiny_ende after some 40 s of one processor: learning rates 1e-3, 2e-3 and 4e-3 with batches
# of 768 ids had 62, 85 and 80; 3e-3 with twice the batch had 85 after fewer updates.
SETTINGS = {
    "hidden": 128,
    "layers": 2,  # of encoder and decoder each
    "filters": 512,
    "heads": 4,
    "dropout": 0.0,
    "activation": "relu",
    "learning_rate": 3e-3,
    "warmup": 200,  # updates
    "weight_decay": 0.0,
    "label_smoothing": 0.1,
    "clip": 1.0,
    "batch_tokens": 1536,  # of both sides, padding included
    "window": 16,  # batches whose examples are sorted by length together
    "most_written": 128,  # ids of an answer
}


def main(examples, points, updates, evaluations, seed, *changes):
    import torch

    updates, evaluations, seed = int(updates), int(evaluations), int(seed)
    settings = SETTINGS | dict(_change(change) for change in changes)
    torch.manual_seed(seed)
    data = read(examples)
    model = make_model(settings, data["size"])
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        parameters, lr=1.0, betas=(0.9, 0.98), eps=1e-9, weight_decay=settings["weight_decay"], fused=True
    )
    stops = stops_of(updates, evaluations)
    stream = batches(data["train"], settings, np.random.default_rng(seed))
    seconds = 0.0
    with open(points, "w", encoding="utf-8") as file:
        about = {"parameters": sum(p.numel() for p in parameters), "threads": torch.get_num_threads()}
        print(json.dumps(about | {"settings": settings}), file=file, flush=True)
        start = time.perf_counter()
        for update in range(1, updates + 1):
            rate = learning_rate(settings, update - 1, updates)
            loss = step(model, parameters, optimizer, next(stream), rate, settings)
            if update in stops:
                last = loss.item()
                seconds += time.perf_counter() - start
                if not math.isfinite(last):
                    raise SystemExit(f"the loss is {last} after {update} updates")
                line = {"updates": update, "seconds": seconds, "loss": last}
                if evaluations:
                    line["answers"] = answers(model, data["dev"], settings["most_written"])
                print(json.dumps(line), file=file, flush=True)
                start = time.perf_counter()


def _change(text):
    name, _, value = text.partition("=")
    if name not in SETTINGS:
        raise SystemExit(f"no setting {name!r}; there are: {', '.join(SETTINGS)}")
    return name, type(SETTINGS[name])(value)


def stops_of(updates, evaluations):
    """The updates after which points are written, the last among them; without evaluations four, of the speed."""
    return {round(updates * i / (evaluations or 4)) for i in range(1, (evaluations or 4) + 1)}


def read(path):
    """{"size": of the vocabulary, split: [(input ids, target ids)]}, each with end-of-sequence."""
    with np.load(path) as arrays:
        found = {"size": int(arrays["size"])}
        for split in ("train", "dev"):
            inputs, targets = (
                [
                    np.append(ids, END)
                    for ids in np.split(arrays[f"{split}_{side}"], arrays[f"{split}_{side}_ends"][:-1])
                ]
                for side in ("inputs", "targets")
            )
            found[split] = list(zip(inputs, targets))
    return found


def batches(examples, settings, random):
    """Endless [(input ids, target ids)]: of like length, with at most `batch_tokens` ids of both sides."""
    lengths = np.array([max(len(inputs), len(targets)) for inputs, targets in examples])
    while True:
        order = random.permutation(len(examples))
        mean = 2 * lengths.mean()
        window = max(1, round(settings["window"] * settings["batch_tokens"] / mean))
        found = []
        for start in range(0, len(order), window):
            rows = order[start : start + window]
            rows = rows[np.argsort(lengths[rows], kind="stable")]
            first = 0
            for end in range(1, len(rows) + 1):
                if end == len(rows) or 2 * lengths[rows[end]] * (end + 1 - first) > settings["batch_tokens"]:
                    found.append(rows[first:end])
                    first = end
        for i in random.permutation(len(found)):
            yield [examples[row] for row in found[i]]


def padded(rows):
    array = np.full((len(rows), max(map(len, rows))), PAD, np.int64)
    for i, ids in enumerate(rows):
        array[i, : len(ids)] = ids
    return array


def learning_rate(settings, update, updates):
    """Rises in a straight line, then falls by a cosine to zero at the end: as this project's set has it."""
    warmup = min(1.0, (update + 1) / max(1, settings["warmup"]))
    return settings["learning_rate"] * warmup * 0.5 * (1 + math.cos(math.pi * update / updates))


def make_model(settings, vocabulary):
    from transformers import MarianConfig, MarianMTModel

    sizes = {}
    for side in ("encoder", "decoder"):
        sizes |= {f"{side}_layers": settings["layers"], f"{side}_ffn_dim": settings["filters"]}
        sizes |= {f"{side}_attention_heads": settings["heads"]}
    return MarianMTModel(
        MarianConfig(
            vocab_size=vocabulary,
            d_model=settings["hidden"],
            max_position_embeddings=256,
            activation_function=settings["activation"],
            scale_embedding=True,  # as Marian's own models have it
            init_std=settings["hidden"] ** -0.5,  # so that scaled embeddings are as large as the positions
            dropout=settings["dropout"],
            attention_dropout=0.0,
            activation_dropout=0.0,
            pad_token_id=PAD,
            eos_token_id=END,
            decoder_start_token_id=PAD,
            forced_eos_token_id=None,
            **sizes,
        )
    )


def step(model, parameters, optimizer, examples, rate, settings):
    """One update; its loss."""
    import torch

    inputs, targets = (torch.from_numpy(padded(side)) for side in zip(*examples))
    begun = torch.cat([torch.full((len(targets), 1), PAD), targets[:, :-1]], 1)
    model.train()
    logits = model(
        input_ids=inputs, attention_mask=(inputs != PAD).long(), decoder_input_ids=begun, use_cache=False
    ).logits
    loss = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), targets.flatten(), ignore_index=PAD, label_smoothing=settings["label_smoothing"]
    )
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(parameters, settings["clip"], foreach=True)
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    return loss.detach()


def answers(model, examples, most):
    """The ids of greedy decoding for each example, in order."""
    import torch

    model.eval()
    order = sorted(range(len(examples)), key=lambda row: len(examples[row][0]))
    found = [None] * len(examples)
    with torch.inference_mode():
        for start in range(0, len(order), DEV_ROWS):
            rows = order[start : start + DEV_ROWS]
            inputs = torch.from_numpy(padded([examples[row][0] for row in rows]))
            written = model.generate(
                input_ids=inputs,
                attention_mask=(inputs != PAD).long(),
                max_new_tokens=most,
                num_beams=1,
                do_sample=False,
                use_cache=True,
            )
            for row, ids in zip(rows, written[:, 1:].tolist()):
                found[row] = ids
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
