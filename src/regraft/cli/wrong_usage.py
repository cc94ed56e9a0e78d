"""What to say of commands and options that are not regraft's: other tools' words lead to the right ones."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from regraft.cli.console import shell_words
from regraft.errors import printable

_OTHER_WORDS = {  # of other tools and of everyday speech, by the command that is meant
    "fit": "train training finetune fine-tune tune learn teach transfer build create new run start",
    "predict": "classify classification infer inference label apply detect recognise recognize submit test",
    "evaluate": "test testing eval evaluation val valid validate validation score metrics judge accuracy",
    "explain": "visualise visualize visualization gradcam grad-cam cam heatmap interpret report plot show",
    "compare": "benchmark bench sweep tournament curve learning-curve experiment",
    "audit": "check inspect lint clean cleanlab duplicates dedupe dedup mislabelled mislabeled "
    "outliers drift leakage leaks quality doctor verify",
    "export": "convert onnx openvino save deploy torchscript quantise quantize",
    "embed": "embedding embeddings feature features vector vectors vectorise vectorize extract encode featurize",
    "similar": "similarity search nearest neighbour neighbours neighbor neighbors knn retrieve retrieval lookup find",
    "suggest": "active active-learning active-learn query annotate annotation next next-photos to-label",
    "group": "cluster clusters clustering kmeans k-means sort groups organise organize",
    "pretrain": "distil distill distillation scratch",
    "models": "list ls model network networks zoo info describe backbones summary architectures",
    "cache": "clear purge prune",
    "card": "modelcard model-card readme document",
    "push": "upload publish share release hub",
    "demo": "example examples tutorial quickstart try sample",
}
_NO_COMMAND = {  # that no command does
    "serve": "in Python, `regraft.load(FILE).predict_proba(IMAGES)` answers; docs/predict.md shows more",
    "install": "`pip install` does that",
    "update": "`pip install --upgrade` does that",
    "config": "there is no configuration: `regraft fit --help` lists all options",
    "login": "`hf auth login` does that, which `regraft push` alone needs: nothing else leaves this machine",
}
_NO_COMMAND |= dict.fromkeys(("upgrade",), _NO_COMMAND["update"])

_OTHER_FLAGS = {  # likewise, by the options that are meant; those that a command has are named
    ("--lr",): "--learning-rate --lr0 --rate --base-lr --max-lr --eta",
    ("--epochs",): "--epoch --num-epochs --n-epochs --nepochs --max-epochs --iterations -e",
    ("--train-batch-size", "--batch-size"): "--batch --bs --batchsize --mini-batch -b",
    ("--out",): "--output --outfile --out-file --output-file --output-dir --out-dir --outdir --save --save-path "
    "--save-to --save-dir --project --name --dest --destination --file -o",
    ("--model", "--arch"): "--architecture --network --net --backbone --base-model --pretrained --model-name "
    "--encoder -m -a",
    ("--arch", "--model"): "--arch",
    ("--weights",): "--checkpoint --ckpt --weight --load --state-dict --model-path",
    ("--label-column",): "--label --labels --target --target-column --class-column --y --y-col --label-col",
    ("--image-column",): "--image --filename-column --path-column --x-col --image-col --id-column --file-column",
    ("--group-column",): "--group --groups --patient --patient-column --group-col",
    ("--image-root",): "--root --image-dir --images-dir --image-folder --img-dir",
    (
        "--strategy frozen",
        "--strategies frozen",
    ): "--freeze --frozen --freeze-backbone --feature-extract --linear-probe",
    ("--strategy whole", "--strategies whole"): "--unfreeze --finetune --fine-tune --full",
    ("--strategy", "--strategies"): "--mode --method --how",
    ("--device cuda",): "--gpu --gpus --cuda",
    ("--device cpu",): "--cpu --no-cuda --no-gpu",
    ("--optimizer",): "--opt --optim --optimiser",
    ("--weight-decay",): "--wd --l2 --decay",
    ("--warm-up",): "--warmup --warmup-epochs --warmup-steps --warmup-ratio",
    ("--precision",): "--amp --fp16 --bf16 --half --mixed-precision --dtype",
    ("--patience",): "--early-stopping --early-stop",
    ("--averaging",): "--ema",
    ("--augment",): "--aug --augmentation --augmentations --transforms --aa --color-jitter --hflip",
    ("--label-smoothing",): "--smoothing",
    ("--clip",): "--grad-clip --clip-grad --max-grad-norm",
    ("--cutmix",): "--cut-mix",
    ("--mixup",): "--mix-up",
    ("--lora",): "--lora-rank --lora-r --rank",
    ("--budget",): "--time --time-limit --max-time --timeout",
    ("--seed",): "--random-state --random-seed",
    ("--track mlflow",): "--mlflow --wandb --tensorboard --logger --log",
    ("--restart",): "--overwrite --force-restart --fresh --from-scratch",
    ("--format",): "--output-format --fmt",
    ("--format csv",): "--csv",
    ("--split",): "--subset --partition",
    ("--verbose",): "--debug --log-level --info -v",
    ("--licence",): "--license",
    ("--teacher",): "--distill --distil --distill-from",
    ("--all",): "--full --everything",
    ("--top",): "--k --top-k --topk --neighbours --neighbors --num --count --limit -k -n",
}
_POSITIONAL = (
    "--data --dataset --data-dir --data-path --datadir --input --inputs --path --dir --folder --source --images "
    "--image-path --photos --train --train-dir --train-data --csv-file --table -i -d"
)
_NO_FLAG = {  # what no option does, and why
    "--imgsz --img-size --image-size --img --size --resolution --input-size": "images are brought to the size that the "
    "network was made for; `regraft models NETWORK` shows it",
    "--workers --num-workers --threads --jobs --n-jobs -j": "photos are decoded on all processors by themselves",
    "--resume --continue": "the same command, given again, resumes a run that was killed",
    "--val --val-dir --val-split --validation-split --test-size --test-split --split-ratio --folds --k-folds --cv": "a "
    "validation folder is found by its name; without one every figure is out-of-fold",
    "--classes --num-classes --nc --class-names": "the classes are those of the folders or of the label column",
    "--loss --criterion": "the loss is the cross-entropy",
    "--quiet --silent -q": "what is told goes to stderr, the result to stdout: 2> FILE",
}
_CLOSE = 0.75  # of two flags' letters: --verson is --version, --verbose is not


def unknown_command(name: str, rest: Sequence[str], commands: Mapping[str, Any]) -> str | None:
    """Return a sentence on a command that there is none of, with the one that is meant; None if nobody knows.

    Args:
        name: as it was typed.
        rest: of the arguments.
        commands: those that there are, by name.
    """
    word = name.lower().replace("_", "-")
    said = f"No such command {printable(name)!r}."
    if word in _NO_COMMAND:
        return f"{said[:-1]}: {_NO_COMMAND[word]}."
    if word in commands:
        return f"{said} Did you mean `{_typed(word, rest)}`?"
    meant = [command for command, words in _OTHER_WORDS.items() if word in words.split() and command in commands]
    if len(meant) == 1:
        return f"{said} Did you mean `{_typed(meant[0], rest)}`? {commands[meant[0]].get_short_help_str(100)}"
    if meant:
        lines = [f"  {_typed(one, rest):<24}  {commands[one].get_short_help_str(100)}" for one in meant]
        return f"{said} Did you mean this?\n" + "\n".join(lines)
    path = Path(name)
    if path.exists():
        command = "predict" if path.suffix == ".safetensors" else "fit" if path.is_dir() else "predict FILE"
        return f"{said} To use what is there: `regraft {command} {shell_words(name, *rest)}`."
    return None


def _typed(command: str, rest: Sequence[str]) -> str:
    return " ".join(part for part in (f"regraft {command}", shell_words(*rest)) if part)


def unknown_option(flag: str, command: Any, path: str) -> str:
    """Return a sentence on an option that a command, or regraft itself, does not have, with what is meant.

    Args:
        flag: as it was typed, without its value.
        command: typer's, with its parameters.
        path: the command as it is typed, e.g. "regraft fit".
    """
    said, name = f"No such option: {printable(flag)}.", flag.lower().replace("_", "-")
    own = {option for parameter in command.params for option in parameter.opts if option.startswith("-")}
    if name in own:
        return f"{said} Did you mean {name}?"
    meant: list[str] = []
    for flags, words in _OTHER_FLAGS.items():
        if name in words.split():
            meant += [one for one in flags if one.partition(" ")[0] in own and one not in meant]
    if meant:
        return f"{said} Did you mean {' or '.join(meant)}?"
    arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    if name in _POSITIONAL.split() and arguments:
        names = " ".join(parameter.name.upper() for parameter in arguments)
        return f"{said} Photos and files are named without one: `{path} {names}`."
    for words, why in _NO_FLAG.items():
        if name in words.split():
            return f"{said} There is none: {why}."
    close = get_close_matches(name, own, n=3, cutoff=_CLOSE)
    if hasattr(command, "commands") and not close:
        return f"{said} Options stand after the command: `{path} COMMAND {printable(flag)}`."
    return f"{said} Did you mean {' or '.join(close)}?" if close else said
