"""Why it does not work: each thing a lab needs, tried for real, with the one fix for what fails."""

from __future__ import annotations

from labkit.doctor.diagnosis import Check, Diagnosis
from labkit.doctor.run import examine

__all__ = ["Check", "Diagnosis", "examine"]
