"""Every flag of `stillhouse vision` changes the model or the run: the original had 229, many of which did nothing."""

import re
from functools import cache
from pathlib import Path

import pytest
import torch
import yaml

from stillhouse.arms import Setting, _lesson
from stillhouse.checks import InputError
from stillhouse.cli.vision import _parser, read
from stillhouse.config import ConfigError, dump_yaml, parse, to_mapping
from stillhouse.data import DataConfig
from stillhouse.students.tsetlin.priors import apply_prior
from stillhouse.teachers import Teacher
from stillhouse.teaching import Tutor
from stillhouse.training.classification import ClassificationJob
from stillhouse.training.optimizer import build_optimizer
from stillhouse.types import Progress
from stillhouse.vision.flags import TABLE, described, starred
from stillhouse.vision.models import student_of
from stillhouse.vision.places import places_of


def words(text):
    return text.split()


BASE = [
    *words(
        "--dataset digits --train-limit 60 --test-limit 40 --transformer-patch 4 --transformer-clauses 8 --device cpu"
    ),
    *words("--transformer-mlp-ratio 2 --batch-size 16 --epochs 4 --transformer-drop-path 0 --transformer-dropout 0"),
]
VIT = [*BASE, *words("--transformer-d-model 12 --transformer-heads 3 --transformer-layers 2")]
SWIN = [*BASE, *words("--transformer-arch swin --transformer-patch 1 --transformer-window 4")]
SMALL_SWIN = words("--transformer-embed-dims 8,16 --transformer-depths 2,1 --transformer-stage-heads 2,4")
WIDE = [*SWIN, "--transformer-depths", "1,1", "--transformer-d-model", "8", "--transformer-heads", "2"]


def config(*line):
    """Later words win, as argparse has it."""
    return read(line)[1]


@cache
def data_of(text):

    return parse(DataConfig, yaml.safe_load(text)).build()


def data(chosen):
    return data_of(dump_yaml(chosen.data))


def built(chosen):
    torch.manual_seed(0)
    plan = chosen.run_config("transformer")
    model = plan.student.build(data(chosen).task)
    apply_prior(model, plan.prior)
    return model


def student(*line):
    """Parameters, two training forwards with a step between, penalties: what a setting of the network can change."""
    chosen = config(*line)
    model = built(chosen)
    x = data(chosen).task.example(6)
    found = {"params": sum(p.numel() for p in model.parameters())}
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    for step in range(2):
        torch.manual_seed(1)
        logits = model.train()(x)
        penalty = sum((w * v for w, v in model.regularizers().values()), torch.zeros(()))
        found[f"forward {step}"] = logits.detach().flatten().tolist()
        found[f"penalty {step}"] = float(penalty)
        optimizer.zero_grad()
        (logits.square().sum() + penalty).backward()
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        optimizer.step()
        found[f"update {step}"] = {
            name: float((p.detach() - before[name]).norm()) for name, p in model.named_parameters()
        }
    return found


def teacher(task):
    torch.manual_seed(3)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, task.num_classes))
    return Teacher.from_module(net, task)


def training(*line, taught=False):
    """Loss terms in the first and last epoch, learning rates of all steps, scores: what a setting of the training can change."""
    chosen = config(*line)
    here = data(chosen)
    plan = chosen.run_config("transformer", places_of(student_of(chosen.model, "transformer"), here.task))
    tutor = Tutor.of(teacher(here.task), here, 16, plan.training) if taught else None
    setting = Setting(plan, here, (tutor,))
    torch.manual_seed(0)
    model = plan.student.build(here.task)
    lesson = _lesson(setting, plan.stages_of(taught)[0], tutor, model, 0)
    job = ClassificationJob(model, here, plan.training, seed=0, lesson=lesson)
    steps = -(-len(here.train) // plan.training.batch_size)
    optimizer, schedule = build_optimizer(model, job.extras, plan.training, steps)
    total = plan.training.epochs * steps
    found = {"steps": total, "rates": []}
    for step in range(total):
        found["rates"].append([group["lr"] for group in optimizer.param_groups])
        if step in (0, total - 1):
            torch.manual_seed(1)
            model.train()
            optimizer.zero_grad()
            terms = job.terms(job.order(0)[: plan.training.batch_size], Progress(step, total))
            found[f"terms {step}"] = {name: (w, float(v.detach())) for name, (w, v) in terms.items()}
            sum(w * v for w, v in terms.values()).backward()
            found[f"gradient {step}"] = float(model.head.weight.grad.mean(1).abs().sum())
            optimizer.step()
            job.stepped(step + 1)
        else:
            optimizer.step()
        schedule.step()
    calls = []
    hook = model.register_forward_hook(lambda *args: calls.append(1))
    found["metrics"] = job.validate(model.eval()).metrics
    hook.remove()
    found["scoring passes"] = len(calls)
    found["ema"] = plan.training.ema_decay
    return found


def taught(*line):
    return training(*line, taught=True)


def splits(*line):
    """Shapes, sizes, pixels and classes of the data, and what augmentation makes of them."""
    chosen = config(*line)
    here = data(chosen)
    x = here.train.batch(torch.arange(8)).inputs
    changed = here.augment(x, seed=1)
    return {
        "sha": here.sha256,
        "sizes": here.sizes,
        "classes": here.task.num_classes,
        "seen": changed.flatten().tolist(),
    }


def reaches(*line):
    """The run's configuration: for settings of the library whose effect its own tests show (tests/training, tests/teachers)."""
    chosen = config(*line)
    return {**to_mapping(chosen.run_config(chosen.models[0])), "features": to_mapping(chosen.features)}


def other(*line):
    """The same of another model: parameters, training forwards, updates."""
    chosen = config(*line)
    here = data(chosen)
    torch.manual_seed(0)
    model = chosen.run_config(chosen.models[0]).student.build(here.task)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    found = {"params": sum(p.numel() for p in model.parameters())}
    x = here.task.example(6)
    for step in range(2):
        torch.manual_seed(1)
        said = model.train()(x)
        logits = said[0] if isinstance(said, tuple) else said
        found[f"forward {step}"] = logits.detach().flatten().tolist()
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(logits, torch.arange(6)).backward()
        found[f"gradient {step}"] = {
            name: float(p.grad.norm()) for name, p in model.named_parameters() if p.grad is not None
        }
        optimizer.step()
    return found


def size(*line):
    """Of large models: names and shapes of all weights, made on no device."""
    chosen = config(*line)
    with torch.device("meta"):
        model = chosen.run_config(chosen.models[0]).student.build(data(chosen).task)
    return {name: tuple(x.shape) for name, x in (*model.named_parameters(), *model.named_buffers())}


def backbone(*line):
    """Sizes of every stage of SwinTM, which has 66 million weights at the least; its own tests build it smaller."""
    chosen = config(*line)
    return [repr(stage) for stage in chosen.run_config(chosen.models[0]).student.backbone().stages()]


TM = [*BASE, *words("--models tm --tm-n-clauses 40")]
DEEP = [*BASE, *words("--models deep_tm --deeptm-hidden-dims 12 --deeptm-n-clauses 12")]
HYBRID = [*BASE, *words("--models hybrid --hybrid-clauses 12")]
CONV = [
    *BASE,
    *words("--models deep_ctm --deepctm-channels 6 --deepctm-kernels 3 --deepctm-strides 1 --deepctm-pools 2"),
    *words("--deepctm-clauses 8 --deepctm-head-clauses 8"),
]
RESNET = [*BASE, "--models", "resnet_tm"]
PYRAMID = [*BASE, *words("--models pyramid_tm --pyramid-clauses 12,12,12,12")]
TEACHER = ["--distill-teacher-source", "builtin:digits"]
AUTO = ["--transformer-auto-clause"]
MIX = ["--mixup-alpha", "0.5"]
CUT = ["--cutmix-alpha", "0.5"]
CASES = {
    "--epochs": (training, VIT, "5"),
    "--batch-size": (training, VIT, "20"),
    "--test-batch-size": (training, VIT, "2"),
    "--report-epoch-acc": (training, [*VIT, "--no-report-epoch-acc"], None),
    "--report-epoch-test": (training, VIT, None),
    "--num-classes": (splits, VIT, "12"),
    "--tm-target-size": (splits, VIT, "16 16"),
    "--dataset": (reaches, VIT, "mnist"),
    "--randaugment": (splits, VIT, None),
    "--randaugment-n": (splits, [*VIT, "--randaugment"], "4"),
    "--randaugment-m": (splits, [*VIT, "--randaugment"], "25"),
    "--mixup-alpha": (training, VIT, "0.5"),
    "--cutmix-alpha": (training, VIT, "0.5"),
    "--mixup-schedule": (training, [*VIT, *MIX], "constant"),
    "--cutmix-schedule": (training, [*VIT, *CUT], "constant"),
    "--label-smoothing": (training, VIT, "0.1"),
    "--lr": (training, VIT, "0.001"),
    "--min-lr": (training, VIT, "0.001"),
    "--warmup-epochs": (training, VIT, "1"),
    "--lr-cycle-steps": (training, VIT, "3"),
    "--lr-layer-decay": (training, VIT, "0.5"),
    "--gradient-centralize": (training, VIT, None),
    "--transformer-ema-decay": (training, VIT, "0.9"),
    "--transformer-arch": (student, [*BASE, *["--transformer-patch", "1", "--transformer-window", "4"]], "swin"),
    "--transformer-backend": (student, VIT, "deeptm"),
    "--transformer-patch": (student, VIT, "2"),
    "--transformer-d-model": (student, VIT, "24"),
    "--transformer-embed-dims": (student, BASE, "24"),
    "--transformer-layers": (student, VIT, "3"),
    "--transformer-depths": (student, [*SWIN, *SMALL_SWIN], "1,1"),
    "--transformer-heads": (student, VIT, "4"),
    "--transformer-stage-heads": (student, [*SWIN, *SMALL_SWIN], "4,8"),
    "--transformer-clauses": (student, VIT, "8,12"),
    "--transformer-mlp-ratio": (student, VIT, "3"),
    "--transformer-window": (student, WIDE, "2"),
    "--transformer-use-cls": (student, [*VIT, "--transformer-pool", "mean", "--no-transformer-use-cls"], None),
    "--transformer-pool": (student, VIT, "mean"),
    "--transformer-dropout": (student, VIT, "0.5"),
    "--transformer-drop-path": (student, VIT, "0.9"),
    "--transformer-drop-path-schedule": (
        student,
        [*VIT, "--transformer-layers", "4", "--transformer-drop-path", "0.9", "--transformer-clauses", "8"],
        "cosine",
    ),
    "--transformer-norm": (student, VIT, "rmsnorm"),
    "--transformer-residual-attn": (student, VIT, None),
    "--tm-tau": (student, VIT, "0.4"),
    "--transformer-learnable-tau": (student, VIT, None),
    "--transformer-tau-ema": (student, [*VIT, "--transformer-learnable-tau"], "0.9"),
    "--transformer-ff-gate": (student, VIT, "geglu"),
    "--transformer-ff-mix": (student, VIT, "linear_depthwise"),
    "--transformer-bitwise-mix": (student, VIT, None),
    "--transformer-clause-attention": (student, VIT, None),
    "--transformer-clause-routing": (student, VIT, None),
    "--transformer-bypass": (student, VIT, None),
    "--transformer-bypass-scale": (student, [*VIT, "--transformer-bypass"], "0.5"),
    "--transformer-clause-drop": (student, VIT, "0.5"),
    "--transformer-literal-drop": (student, VIT, "0.5"),
    "--transformer-sparsity-weight": (student, VIT, "0.5"),
    "--transformer-clause-bias": (student, VIT, "0.5"),
    "--tm-prior-template": (student, VIT, "symmetric"),
    "--transformer-clause-specialize": (training, VIT, None),
    "--transformer-clause-specialize-strength": (training, [*VIT, "--transformer-clause-specialize"], "1.0"),
    "--transformer-self-distill-weight": (training, [*VIT, "--transformer-ema-decay", "0.9"], "0.5"),
    "--transformer-self-distill-temp": (
        training,
        [*VIT, "--transformer-ema-decay", "0.9", "--transformer-self-distill-weight", "0.5", "--lr", "0.1"],
        "3",
    ),
    "--transformer-aux-weight": (training, VIT, "0.5"),
    "--transformer-contrastive-weight": (training, VIT, "0.5"),
    "--transformer-contrastive-temp": (training, [*VIT, "--transformer-contrastive-weight", "0.5"], "0.5"),
    "--distill-teacher-weight": (taught, [*VIT, *TEACHER], "0.9"),
    "--distill-teacher-temp": (taught, [*VIT, *TEACHER], "5"),
    # settings of the library, shown alive by its own tests
    "--distill-teacher-timm": (reaches, VIT, "resnet18"),
    "--distill-teacher-checkpoint": (reaches, VIT, "teacher.safetensors"),
    "--distill-teacher-source": (reaches, VIT, "builtin:digits"),
    "--distill-teacher-pretrained": (
        reaches,
        [*VIT, "--distill-teacher-timm", "resnet18", "--no-distill-teacher-pretrained"],
        None,
    ),
    "--distill-teacher-image-size": (reaches, [*VIT, *TEACHER], "32"),
    "--distill-teacher-head": (reaches, [*VIT, *TEACHER], "keep"),
    "--seeds": (reaches, VIT, "3"),
    "--arms": (reaches, VIT, "no-kd clauses-off"),
    "--threads": (reaches, VIT, "1"),
    "--log-interval": (reaches, VIT, "5"),
    "--precision": (reaches, VIT, "bf16-mixed"),
    "--accumulate": (reaches, VIT, "2"),
    "--patience": (reaches, VIT, "2"),
    "--keep": (reaches, VIT, "last"),
    "--download": (reaches, [*VIT, "--no-download"], None),
    "--dataset-root": (reaches, VIT, "here"),
    "--optimizer": (reaches, VIT, "sgd"),
    "--weight-decay": (reaches, VIT, "0.1"),
    "--clip-grad": (reaches, VIT, "0.5"),
    "--tm-feature-cache": (reaches, VIT, "here"),
    "--tm-feature-batch": (reaches, VIT, "7"),
    "--tm-target-channels": (splits, VIT, "3"),
    "--train-limit": (splits, VIT, "70"),
    "--test-limit": (splits, VIT, "50"),
    "--validation-fraction": (splits, VIT, "0.3"),
    "--split-seed": (splits, VIT, "5"),
    "--augment": (splits, VIT, "affine"),
    "--transformer-attention-dropout": (student, VIT, "0.5"),
    "--transformer-relative-pos": (student, VIT, "learned"),
    "--transformer-swin-version": (student, WIDE, "2"),
    "--transformer-layerscale-init": (student, VIT, "0.1"),
    "--transformer-use-layerscale": (student, [*VIT, "--no-transformer-use-layerscale"], None),
    "--transformer-tau-min": (student, [*VIT, "--transformer-learnable-tau"], "0.3"),
    "--transformer-tau-max": (student, [*VIT, "--transformer-learnable-tau"], "0.7"),
    "--transformer-ff-gate-activation": (student, [*VIT, "--transformer-ff-gate", "linear"], "relu"),
    "--transformer-failures": (student, VIT, "2"),
    "--transformer-literals": (student, VIT, "6"),
    "--transformer-literal-budget": (student, VIT, "3"),
    "--transformer-literal-weight": (student, VIT, "0.5"),
    "--transformer-operator": (student, VIT, "product"),
    "--stcm-ternary-voting": (student, [*VIT, "--transformer-backend", "stcm"], None),
    "--stcm-ternary-band": (student, [*VIT, "--transformer-backend", "stcm"], "0.3"),
    "--stcm-ste-temperature": (student, [*VIT, "--transformer-backend", "stcm"], "3"),
    "--transformer-feed-forward": (student, VIT, "mlp"),
    "--tm-n-clauses": (other, TM, "20"),
    "--tm-lf": (other, TM, "2"),
    "--tm-literals": (other, TM, "6"),
    "--tm-literal-budget": (other, TM, "3"),
    "--tm-clause-dropout": (other, TM, "0.5"),
    "--tm-literal-dropout": (other, TM, "0.5"),
    "--tm-levels": (other, TM, "2"),
    "--tm-voting": (other, TM, "team"),
    "--deeptm-hidden-dims": (other, DEEP, "12,8"),
    "--deeptm-n-clauses": (other, DEEP, "16"),
    "--deeptm-dropout": (other, DEEP, "0.5"),
    "--deeptm-tau": (other, DEEP, "0.4"),
    "--hybrid-thresholds": (other, HYBRID, "8"),
    "--hybrid-clauses": (other, HYBRID, "20"),
    "--deepctm-channels": (other, CONV, "8"),
    "--deepctm-kernels": (other, CONV, "5"),
    "--deepctm-strides": (other, CONV, "2"),
    "--deepctm-pools": (other, CONV, "4"),
    "--deepctm-clauses": (other, CONV, "12"),
    "--deepctm-head-clauses": (other, CONV, "12"),
    "--deepctm-dropout": (other, CONV, "0.5"),
    "--deepctm-mix": (other, CONV, "linear"),
    "--deepctm-stem-channels": (other, CONV, "4"),
    "--resnet-layers": (size, RESNET, "34"),
    "--resnet-stem": (size, RESNET, "small"),
    "--swin-size": (backbone, [*BASE, *words("--models swin_tm --swin-window 4 --tm-target-size 32")], "small"),
    "--swin-window": (backbone, [*BASE, *words("--models swin_tm --swin-window 4 --tm-target-size 32")], "2"),
    "--pyramid-pools": (other, PYRAMID, "8,2,2,1"),
    "--pyramid-clauses": (other, PYRAMID, "20,16,16,16"),
    "--pyramid-fusion": (other, PYRAMID, "weights"),
    "--probes": (training, [*VIT, "--no-probes"], None),
}
ELSEWHERE = {  # what a whole run, or a file, shows
    "--models": "test_models_run_one_after_another",
    "--device": "test_the_device_is_used_or_refused",
    "--transformer-use-flash-attn": "test_fused_attention_is_demanded",
    "--transformer-grad-checkpoint": "test_checkpointing_runs_blocks_twice",
    "--transformer-auto-clause": "test_auto_clause_holds_the_sum",
    "--transformer-clause-target": "test_auto_clause_holds_the_sum",
    "--transformer-auto-clause-batches": "test_auto_clause_holds_the_sum",
    "--transformer-auto-clause-steps": "test_auto_clause_holds_the_sum",
    "--tm-feature-mode": "test_boolean_features_replace_pixels",
    "--tm-feature-config": "test_boolean_features_replace_pixels",
    "--tm-feature-size": "test_boolean_features_replace_pixels",
    "--tm-feature-grayscale": "test_boolean_features_replace_pixels",
    "--tm-feature-force": "test_boolean_features_replace_pixels",
    "--transformer-save-path": "test_a_whole_run_leaves_what_it_promises",
    "--transformer-log-dir": "test_a_whole_run_leaves_what_it_promises",
    "--visualize-overlays": "test_a_whole_run_leaves_what_it_promises",
    "--visualize-samples": "test_a_whole_run_leaves_what_it_promises",
    "--bitpack": "test_packed_and_dense_agree",
    "--visualize-topk": "test_a_whole_run_leaves_what_it_promises",
}
DOCUMENTED = """
--models --dataset --epochs --batch-size --test-batch-size --lr --min-lr --warmup-epochs --lr-cycle-steps
--label-smoothing --tm-prior-template --lr-layer-decay --gradient-centralize --num-classes --report-epoch-acc
--report-epoch-test --device --tm-feature-mode --tm-feature-config --tm-feature-size --tm-feature-grayscale --tm-tau
--tm-target-size --transformer-d-model --transformer-heads --transformer-layers --transformer-clauses
--transformer-arch --transformer-patch --transformer-depths --transformer-stage-heads --transformer-embed-dims
--transformer-mlp-ratio --transformer-window --transformer-drop-path --transformer-drop-path-schedule
--transformer-use-cls --transformer-pool --transformer-backend --transformer-ff-gate --transformer-auto-clause
--transformer-clause-target --transformer-auto-clause-batches --transformer-clause-drop --transformer-literal-drop
--transformer-sparsity-weight --transformer-clause-bias --transformer-norm --transformer-ff-mix
--transformer-bitwise-mix --transformer-learnable-tau --transformer-tau-ema --transformer-clause-attention
--transformer-clause-routing --transformer-bypass --transformer-bypass-scale --transformer-dropout
--transformer-aux-weight --transformer-ema-decay --transformer-self-distill-weight --transformer-self-distill-temp
--distill-teacher-timm --distill-teacher-checkpoint --distill-teacher-weight --distill-teacher-temp
--transformer-contrastive-weight --transformer-contrastive-temp --transformer-grad-checkpoint
--transformer-use-flash-attn --transformer-residual-attn --transformer-clause-specialize
--transformer-clause-specialize-strength --transformer-log-dir --transformer-save-path --visualize-overlays
--visualize-samples --visualize-topk --randaugment --randaugment-n --randaugment-m --mixup-alpha --cutmix-alpha
--mixup-schedule --cutmix-schedule
"""


@pytest.mark.parametrize("name", CASES)
def test_the_flag_changes_something(name):
    """One that changed neither the network, nor a term, a rate, an image or the run's settings, would be decorative."""
    outcome, base, word = CASES[name]
    before = [name, *(() if word is None else word.split())]
    without = [w for w in base if w != name.replace("--", "--no-", 1)] if word is None else base
    assert outcome(*base) == outcome(*base), "not a function of the words"
    assert outcome(*without, *before) != outcome(*base)


def test_every_flag_is_shown_alive_somewhere():
    """A new row without a proof."""
    assert sorted([*CASES, *ELSEWHERE]) == sorted(row.name for row in TABLE)
    text = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    for test in set(ELSEWHERE.values()):
        assert f"def {test}(" in text


def test_every_documented_name_is_there():
    """84 names that the founding documents use."""
    assert len(DOCUMENTED.split()) == 84
    assert sorted(starred()) == sorted(DOCUMENTED.split())


def test_help_says_it_by_groups_from_the_settings():
    """A flag without a text, or a group without a heading."""
    text = _parser().format_help()
    for row, flag in described():
        assert row.name in text
        assert flag.help
    assert {"transformer:", "augmentation:", "optimizer:", "files:"} <= set(
        re.findall(r"^[a-z ]+:$", text, re.MULTILINE)
    )


def test_underscores_are_taken_too():
    """One row of the documents spells a flag so."""
    line = [*VIT, "--transformer-ema-decay", "0.9", "--transformer-self-distill-weight", "1"]
    assert config(*line, "--transformer-self_distill-temp", "3").lesson.self_temperature == 3
    assert config(*line, "--transformer_self_distill_temp=4").lesson.self_temperature == 4


def test_fused_attention_is_demanded(monkeypatch):
    """Published, it fell back to the slow kernel silently."""
    import stillhouse.students.tsetlin.attention as attention

    asked = []
    kernel = attention.sdpa_kernel
    monkeypatch.setattr(attention, "sdpa_kernel", lambda backends: asked.append(backends) or kernel(backends))
    for line, expected in ((VIT, 0), ([*VIT, "--transformer-use-flash-attn"], 2)):
        chosen = config(*line)
        asked.clear()
        built(chosen).eval()(data(chosen).task.example(2))
        assert len(asked) == expected


def test_checkpointing_runs_blocks_twice():
    """Memory for time: the same gradient, each block run again on the way back."""
    gradients = []
    for line in (VIT, [*VIT, "--transformer-grad-checkpoint"]):
        chosen = config(*line)
        model, calls = built(chosen).train(), []
        model.blocks[0].norm1.register_forward_hook(lambda *args, calls=calls: calls.append(1))
        model(data(chosen).task.example(4)).square().sum().backward()
        assert len(calls) == (2 if "--transformer-grad-checkpoint" in line else 1)
        gradients.append(model.blocks[0].attention.qkv.weight.grad)
    torch.testing.assert_close(*gradients)


def test_tau_is_that_of_flat_and_hybrid_machines_too():
    """One documented flag, three models."""
    for model in ("tm", "hybrid"):
        assert config("--models", model, "--tm-tau", "0.4").run_config(model).student.rule.tau == 0.4


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--transformer-clauses 7", "even"),
        (
            "--transformer-arch swin --transformer-patch 1 --transformer-depths 1,1 --transformer-embed-dims 8,16,32",
            "list of 2",
        ),
        ("--transformer-d-model 50 --transformer-heads 3", "multiple of num_heads"),
        ("--transformer-arch swin --transformer-window 7", "window_size"),
        ("--tm-tau 1.0", "tau"),
        ("--tm-tau 0", "tau"),
        ("--transformer-tau-ema 1.5", "tau_ema_beta"),
        ("--num-classes 1", "num_classes"),
        ("--mixup-alpha 0.2 --batch-size 1", "at least 2 images to mix"),
        ("--transformer-d-model 64 --transformer-embed-dims 64", "say the same"),
        ("--transformer-heads 4 --transformer-stage-heads 4", "say the same"),
        ("--tm-target-size 28 32", "square"),
        ("--tm-feature-mode conv", "tm and deep_tm"),
        ("--models transformer transformer", "each model once"),
        ("--transformer-deepness 3", "unknown flag"),
        ("--transformer-pool cls --no-transformer-use-cls", "class token"),
        ("--lr-cycle-steps 5 --set training.schedule=constant", "cycle_steps"),
    ],
)
def test_what_cannot_be_is_told(line, said):
    """Before anything is trained, by the name of the setting."""
    with pytest.raises((ConfigError, InputError), match=said):
        config("--dataset", "digits", "--transformer-patch", "4", *line.split())
