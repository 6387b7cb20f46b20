"""AVSynth: a small synthetic audio-video dataset whose classes need both modalities, written as real mp4 files.

Every clip shows one visual event v out of n and plays one sound event s out of n (n = 4 unless asked otherwise). All
else is nuisance: place, size, colour, shape, background and small distractors in the video; pitch, timbre, onset,
level, coloured noise and short blips in the audio. The first three tasks use the very same clips and differ in labels
only; in the last a clip has several labels:

- ``pair``: the class is (v, s), n * n classes such as ``bounce+sweep_up``.
- ``parity``: the class is (v + s) mod n, n classes ``sum0`` ... ``sum3``.
- ``action``: two labels, as in EPIC-Kitchens: v is the verb and s the noun.
- ``match``: video and audio agree, s = v, and the class is their number: n classes such as ``bounce+sweep_up``.
  Either modality alone can tell it: what a model loses without one of them, it has not learned from the other.
- ``natural``: 32 classes, an own set of clips, of which 48 % have the class in one modality only; see
  :mod:`mmav.preparation.avsynth.natural`. What follows is of the others.
- ``events``: a clip shows none to two events and plays none to two, at least one in all, with n = 6; the classes are
  those of ``match``, and a clip has the label k if it shows event k or plays it. So an event is only seen, only heard,
  or both.

Why one modality is not enough
------------------------------
In the first three each split holds every pair (v, s) equally often, and the random numbers of the video are drawn
from a stream of their own, as are those of the audio. So, given v, the video X is independent of s and of the audio,
and P(s | X) = 1/n.

- ``pair``, video alone: P(class = (v, s) | X) = P(v | X) P(s | X) = P(v | X) / n <= 1/n. The best rule names the
  right v and guesses s: accuracy 1/n. The same holds for the audio alone. Both together can reach 1. So it is for the
  actions of ``action``; the video alone can tell every verb, and 1/n of the nouns.
- ``parity``, video alone: P(class = c | X) = sum over v of P(v | X) P(s = c - v mod n) = 1/n for every c. The
  posterior is flat: one modality is worth nothing, and so is any average or product of the two single-modality
  predictions, since both are flat. Only a model that sees both at once can do better than 1/n.

- ``events``, video alone: an event that is seen is there; of the others it knows only how often one is heard: 1/4 where
  nothing is seen, 1/6 else. Ranked by that, what is seen first and the rest in any order, the mean average precision is
  0.80; the macro F1 of naming what is seen is 0.71 (20,000 clips drawn). Both together can reach 1. So it is for the
  audio alone.

A rule that uses v alone scores exactly 1/n on every split, because the counts are exact. A trained network also reacts
to nuisance; its score scatters around 1/n, with a standard deviation of 2 % on 480 clips for n = 4.

A single frame tells nothing about v either: all visual events share one formula, with one phase per channel (across,
up-down, turn, size, ...), every phase uniform at every time; the event only decides which phase advances with time.
In the same way no instant of the audio tells a rising sweep from a falling one. See `render_video` and `render_audio`.
"""

from mmav.preparation.avsynth.generate import generate
from mmav.preparation.avsynth.natural import NATURAL, NaturalSpec
from mmav.preparation.avsynth.spec import SOUND_EVENTS, SPLITS, VISUAL_EVENTS, AVSynthSpec
from mmav.preparation.avsynth.spec import TASKS as _TASKS

TASKS = (*_TASKS, NATURAL)

__all__ = ['NATURAL', 'SOUND_EVENTS', 'SPLITS', 'TASKS', 'VISUAL_EVENTS', 'AVSynthSpec', 'NaturalSpec', 'generate']
