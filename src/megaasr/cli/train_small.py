"""The stages of `mega-asr train` that make `small`, from the stem to the decoder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from megaasr.cli.training_options import (
    DryRunOption,
    OutputOption,
    SetOption,
    ThreadsOption,
    TrainingRequest,
    needing_libraries,
    recipe_argument,
)


def stem(
    recipe: Annotated[str, recipe_argument("train-stem-small")],
    output: OutputOption,
    set_: SetOption = None,
    threads: ThreadsOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Fit the convolutions of small's encoder to the stem of Whisper-base."""
    with needing_libraries():
        from megaasr.train.small.stem import StemRecipe, StemTrainer
    request = TrainingRequest(recipe, output, set_, threads=threads, dry_run=dry_run)
    if (resolved := request.resolve(StemRecipe)) is not None:
        request.train(StemTrainer, resolved, "the encoder")


def check_stem(
    encoder: Annotated[Path, typer.Argument(help="Folder of the fitted encoder.")],
    data: Annotated[Path, typer.Option(help="Manifest of clips with their references.")],
    whisper: Annotated[
        Path, typer.Option(help="Folder with Whisper-base's model.bin (make judge).")
    ] = Path("corpus/judge/whisper-base"),
    scenario: Annotated[
        str | None, typer.Option(help="Degrade every clip with this scenario first.")
    ] = None,
    severity: Annotated[float, typer.Option(min=0, max=1, help="Severity of --scenario.")] = 0.3,
    limit: Annotated[int | None, typer.Option(min=1, help="Maximum number of clips.")] = None,
    threads: ThreadsOption = None,
) -> None:
    """Compare the fitted encoder with Whisper's by Whisper's own decoder; exit 1 if its error rate
    exceeds 1.3 times Whisper's."""
    with needing_libraries():
        from megaasr.train.small.degradation import Degradation
        from megaasr.train.small.stem_check import STOP_RATIO, check_stem
    import torch

    if threads:
        torch.set_num_threads(threads)
    degradation = Degradation(scenario, severity) if scenario else None
    check = check_stem(encoder, whisper, data, degradation=degradation, limit=limit)
    typer.echo(
        f"{check.clips} clips: Whisper {100 * check.whisper.rate:.1f} %, "
        f"fitted {100 * check.fitted.rate:.1f} %, ratio {check.ratio:.2f}"
    )
    if check.ratio > STOP_RATIO:
        raise typer.Exit(1)


def check_phonemes(
    run: Annotated[Path, typer.Argument(help="Run folder of mega-asr train decoder.")],
    data: Annotated[Path, typer.Option(help="Manifest of clips with their references.")],
    lexicon: Annotated[Path, typer.Option(help="Pronunciations (mega-asr train lexicon).")],
    limit: Annotated[int | None, typer.Option(min=1, help="Maximum number of clips.")] = None,
    threads: ThreadsOption = None,
) -> None:
    """Measure the phoneme error rate of small's projector, by its greedy CTC path."""
    with needing_libraries():
        from megaasr.train.small.phoneme_check import check_phonemes
    import torch

    if threads:
        torch.set_num_threads(threads)
    check = check_phonemes(run, data, lexicon, limit)
    if check.unpronounced:
        typer.echo(
            f"left out: {check.unpronounced} clips with words that {lexicon} lacks", err=True
        )
    errors = check.errors
    typer.echo(
        f"{check.clips} clips: {100 * errors.rate:.1f} % of {errors.reference_length} phonemes "
        f"({errors.substitutions} substituted, {errors.deletions} deleted, "
        f"{errors.insertions} inserted)"
    )
    for name, spoken in check.spoken.most_common():
        typer.echo(f"{name}: {100 * check.missed[name] / spoken:.1f} % of {spoken} missed")


def check_times(
    model: Annotated[
        str,
        typer.Argument(help="Model; with --lexicon the run folder of mega-asr train decoder."),
    ],
    data: Annotated[Path, typer.Option(help="Manifest of clips with their references.")],
    lexicon: Annotated[
        Path | None,
        typer.Option(help="Pronunciations (mega-asr train lexicon), to align the clips by CTC."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Maximum number of clips.")] = None,
    threads: ThreadsOption = None,
) -> None:
    """Compare a model's word times, by attention and by estimates, with known ones.

    Known are those of synthesised records with words, or with --lexicon those by CTC.
    """
    with needing_libraries():
        from megaasr.train.small.time_check import check_aligned_times, check_spoken_times
    import numpy as np
    import torch

    if threads:
        torch.set_num_threads(threads)
    if lexicon is None:
        measured = check_spoken_times(model, data, limit)
    else:
        measured = check_aligned_times(Path(model), data, lexicon, limit)
    for kind, errors in measured.items():
        for name, values in (("starts", errors.starts), ("ends", errors.ends)):
            if values:
                late = np.abs(values)
                typer.echo(
                    f"--align {kind}: {name} of {len(values)} words, median error "
                    f"{1000 * np.median(late):.0f} ms, 90 % below "
                    f"{1000 * np.percentile(late, 90):.0f} ms"
                )
        typer.echo(
            f"--align {kind}: {errors.words} words, {errors.without_duration} without duration, "
            f"{errors.in_silence} more than 0.5 s from any speech"
        )


def encode(
    recipe: Annotated[str, recipe_argument("encode-small")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the frames.")],
    set_: SetOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Compute the encoder frames that the decoder is trained on, once."""
    with needing_libraries():
        from megaasr.train.small.frames import FramesRecipe, encode_corpus
    from megaasr.cli.progress import progress_bar

    resolved = TrainingRequest(recipe, output, set_, dry_run=dry_run).resolve(FramesRecipe)
    if resolved is None:
        return
    with progress_bar("manifests") as advance:
        encode_corpus(resolved, output, lambda done, total: advance(done, total, "encoded"))
    typer.echo(f"{output}: frames of {len(resolved.manifests)} manifests")


def language_model(
    recipe: Annotated[str, recipe_argument("train-lm-small")],
    output: OutputOption,
    set_: SetOption = None,
    threads: ThreadsOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Pre-train small's decoder as a language model on text."""
    with needing_libraries():
        from megaasr.train.small.language_model import LanguageModelRecipe, LanguageModelTrainer
    request = TrainingRequest(recipe, output, set_, threads=threads, dry_run=dry_run)
    if (resolved := request.resolve(LanguageModelRecipe)) is not None:
        request.train(LanguageModelTrainer, resolved, "the language model")


def lexicon(
    sentences: Annotated[Path, typer.Argument(help="JSONL file of sentences (mega-asr text).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="JSON file of the lexicon.")],
) -> None:
    """Pronounce all words of some sentences with espeak-ng."""
    with needing_libraries():
        from megaasr.train.small.language_model import read_sentences
        from megaasr.train.small.lexicon import write_lexicon
    texts = [t for split in ("train", "dev", "test") for t in read_sentences(sentences, split)]
    typer.echo(f"{output}: {write_lexicon(texts, output):,} words")


def align(
    run: Annotated[Path, typer.Argument(help="Run folder of `mega-asr train decoder`.")],
    frames: Annotated[Path, typer.Option(help="Folder of encoder frames.")],
    lexicon: Annotated[Path, typer.Option(help="Lexicon of the words (mega-asr train lexicon).")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the alignments.")],
) -> None:
    """Find the words and phonemes of speech in its encoder frames."""
    with needing_libraries():
        from megaasr.train.small.alignment import align_corpus
        from megaasr.train.small.lexicon import Lexicon
        from megaasr.train.small.phoneme_ctc import load_trained_ctc
    from megaasr.cli.progress import progress_bar

    ctc, words = load_trained_ctc(run), Lexicon.load(lexicon)
    with progress_bar("examples") as advance:
        align_corpus(
            frames, words, ctc, output, lambda done, total: advance(done, total, "aligned")
        )


def decoder(
    recipe: Annotated[str, recipe_argument("train-decoder-small")],
    output: OutputOption,
    set_: SetOption = None,
    threads: ThreadsOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Train small's projector and decoder on encoder frames.

    Two processes on two cores: torchrun --nproc-per-node 2 -m megaasr train decoder RECIPE -o RUN
    """
    with needing_libraries():
        from megaasr.train.small.decoder import DecoderTrainer
        from megaasr.train.small.decoder_recipe import DecoderRecipe
    request = TrainingRequest(recipe, output, set_, threads=threads, dry_run=dry_run)
    if (resolved := request.resolve(DecoderRecipe)) is not None:
        request.train(DecoderTrainer, resolved, "the model")
