"""The task `natural`: clips like those of a large set from the web, of which many are misaligned.

Every clip has one of 32 classes. A class has a visual event, an object of one of 8 hues (the visual family) with one of
4 marks, and a sound event, one of 4 timbres (the audio family) at one of 8 pitches: class k has hue k // 4 and mark
k % 4, timbre k % 4 and pitch k // 4. So a visual family and an audio family have exactly one class in common.

Drawn for each clip, in this order (the probabilities are fields of :class:`NaturalSpec`):

1. the class, each equally often;
2. whether the clip is aligned (0.52), or its video is off-class (0.24), or its audio (0.24). As VGGSounder (Zverev et
   al. 2025) finds of VGGSound's test clips, 48 % have the class in one modality only;
3. what an off-class modality gives instead: the event of another class of its family (0.10: another mark of the same
   hue, or another pitch of the same timbre, each equally likely), or what belongs to no class, recognisably: a grey
   object (0.14), a sound that sweeps through all pitches (0.06), a track of zeros (0.04), or no track (0.04);
4. for each on-class modality, whether its event is ambiguous (0.20): the mark hides behind a grey smudge, the sound is
   at all pitches at once. Then its family can be told and no more;
5. size and tempo, uniform in [0, 1]: of an aligned clip one of each, of a misaligned one for each modality its own. A
   large object has a low sound within its pitch, and the faster it moves, the faster the sound trembles, beeps or
   warbles. So what belongs together can be found within a class, and does not tell the class.

So where the modalities name two classes of one hue, the video is wrong, and the audio where they are of one timbre.
Where one is ambiguous, and the other names a class of another family, the class is the one that hue and timbre have in
common: the arithmetic mean of what each alone believes names the other instead.

All else is nuisance: shape, place, path, turning, brightness and grain of the picture, a textured scene under a
drifting camera, small grey things that pass by; the onset, length and level of the sound, coloured noise 8 to 26 dB
below it, short blips of any pitch. :mod:`~mmav.preparation.avsynth.natural.best` computes what can be known at best.
"""

from mmav.preparation.avsynth.natural.best import best_accuracies
from mmav.preparation.avsynth.natural.spec import NATURAL, NUM_CLASSES, Evidence, NaturalSpec

__all__ = ['NATURAL', 'NUM_CLASSES', 'Evidence', 'NaturalSpec', 'best_accuracies']
