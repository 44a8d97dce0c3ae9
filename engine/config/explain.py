"""Explainers, noise on their labels, measures, and activation patching."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from engine.config.ground import (
    MANY,
    Device,
    ExplainerKind,
    Mode,
    NoiseKind,
    Positive,
    Regime,
    Seed,
    Share,
    Split,
    Strict,
)


class ExplainerSpec(Strict):
    """Explainers: probes on hidden states, trained to predict the target's effects Δ."""

    kinds: tuple[ExplainerKind, ...] = Field(
        ("ridge",), min_length=1, description="ridge is solved in closed form; linear and mlp are trained with Adam"
    )
    modes: tuple[Mode, ...] = Field(("direct",), min_length=1, description="direct: h(x); difference: h(x') − h(x)")
    regimes: tuple[Regime, ...] = Field(
        ("frozen",),
        min_length=1,
        description="frozen: trained once, at the first checkpoint; online: trained further at each checkpoint (not "
        "ridge); refit: trained anew at each checkpoint; the targets stay fixed in all three",
    )
    headline_edits: tuple[str, ...] = Field((), description="edits among which the setting is chosen; empty: all")
    penalties: tuple[Positive, ...] = Field(
        (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0),
        min_length=1,
        description="candidate penalties of ridge, added to the eigenvalues of XᵀX",
    )
    weight_decays: tuple[Annotated[float, Field(ge=0)], ...] = Field(
        (1e-4, 1e-2), min_length=1, description="candidate weight decays of linear and mlp"
    )
    folds: int = Field(5, ge=2, le=MANY, description="folds of the grouped cross-validation")
    cross_validation: Literal["grouped", "leave_one_out"] = Field(
        "grouped",
        description="choice of penalties and weight decays; leave_one_out: ridge only, leaks between edits of a prompt",
    )
    width: int = Field(64, ge=1, le=MANY, description="hidden units of the mlp")
    steps: int = Field(400, ge=1, le=MANY, description="Adam steps of linear and mlp when trained from scratch")
    online_steps: int = Field(40, ge=1, description="Adam steps per checkpoint in the online regime")
    learning_rate: float = Field(3e-3, gt=0, description="learning rate of Adam")
    batch: int = Field(256, ge=1, le=MANY, description="examples per Adam step")
    seeds: int = Field(2, ge=1, le=MANY, description="random initialisations of linear and mlp")

    @model_validator(mode="after")
    def _leave_one_out_needs_ridge(self) -> ExplainerSpec:
        if self.cross_validation == "leave_one_out" and self.kinds != ("ridge",):
            raise ValueError("cross_validation: leave_one_out needs kinds: [ridge]: use grouped")
        return self


class NoiseSpec(Strict):
    """Noise on the training targets, to see how far explanations depend on correct labels."""

    kinds: tuple[NoiseKind, ...] = Field(
        ("shuffle", "flip", "gaussian"), description="targets change places, change sign, or get noise added"
    )
    levels: tuple[Share, ...] = Field(
        tuple(round(0.1 * i, 1) for i in range(11)),
        description="share of the targets that change; gaussian: sd of the noise over sd of the targets; 0 is added",
    )
    seeds: int = Field(5, ge=1, le=MANY, description="random draws at each level")


class PrimarySpec(Strict):
    """The hypothesis that is tested at the full level; all others share the level by Holm's procedure."""

    explainer: ExplainerKind = Field("ridge", description="kind of explainer")
    regime: Regime = Field("frozen", description="its regime")
    edit: str | None = Field(None, description="kind of edit; empty: that of the chosen setting")


class MetricSpec(Strict):
    """Intervals and verdicts."""

    primary: PrimarySpec = PrimarySpec()
    bootstrap: int = Field(1000, ge=200, le=MANY, description="bootstrap resamples of cues and entities")
    verdict_draws: int = Field(10_000, ge=200, le=MANY, description="bootstrap resamples behind verdicts")
    null_shuffles: int = Field(200, ge=200, le=MANY, description="label shuffles for the null band and permutation p")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="confidence level of the intervals")
    absent_within: float = Field(0.03, gt=0, description="a claim is excluded if a band ends below this value")
    seed: Seed = Field(0, description="seed of bootstrap, folds and shuffles")


class PatchingSpec(Strict):
    """Activation patching between x and x' of a finished run, at each layer and position."""

    checkpoints: tuple[str, ...] = Field((), description="names of checkpoints; empty: the first and the last")
    edits: tuple[str, ...] = Field((), description="kinds of edit; empty: that of the chosen explainer")
    split: Split = Field("test_heldout", description="split that the patched examples come from")
    examples: int = Field(200, ge=2, le=MANY, description="patched examples of each kind of edit")
    shuffles: int = Field(200, ge=200, le=MANY, description="draws of each control that is a distribution")
    bootstrap: int = Field(1000, ge=200, le=MANY, description="bootstrap resamples of cues and entities")
    seed: Seed = Field(0, description="seed of the examples' draw, the shuffles and the bootstrap")
    device: Device = "auto"
    batch_size: int = Field(64, ge=1, le=MANY, description="rows per forward pass")
