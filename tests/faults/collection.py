"""All programs: the faulty ones by file, the healthy ones, and those written after the rules were fixed."""

from __future__ import annotations

from . import (
    attending,
    cameras,
    dynamics,
    engineers,
    everyday,
    faulty_outputs,
    faulty_reach,
    faulty_scale,
    faulty_training,
    faulty_units,
    forums,
    fresh,
    generative,
    healthy,
    industry,
    laboratories,
    language,
    later,
    media,
    mixed,
    pictures,
    research,
    science,
    sequences,
    simulations,
    students,
    tables,
    texts,
    training_later,
    training_more,
    vision,
)
from .program import Program, programs_of

FAULTY: tuple[Program, ...] = tuple(
    program
    for module in (faulty_scale, faulty_units, faulty_outputs, faulty_reach, faulty_training)
    for program in programs_of(module)
)
HEALTHY: tuple[Program, ...] = tuple(programs_of(healthy))
STEP_0: tuple[Program, ...] = tuple(p for p in FAULTY if p.when == "step 0")
TRAINING: tuple[Program, ...] = tuple(p for p in FAULTY if p.when == "training")
FRESH: tuple[Program, ...] = tuple(programs_of(fresh))
LATER: tuple[Program, ...] = tuple(programs_of(later))
BLIND: tuple[Program, ...] = tuple(
    program
    for module in (
        *(vision, language, science, mixed, students, everyday),
        *(generative, attending, forums, industry, research, engineers),
        *(pictures, sequences, simulations, cameras, texts, dynamics),
        *(media, tables, laboratories),
    )
    for program in programs_of(module)
)
"""By authors who knew the codes and not the rules."""
WATCHED: tuple[Program, ...] = tuple(programs_of(training_more))
"""Trainings that the watch alone can judge, faulty and healthy; a probe of step 0 has nothing to say of them."""
WATCHED_LATER: tuple[Program, ...] = tuple(programs_of(training_later))
