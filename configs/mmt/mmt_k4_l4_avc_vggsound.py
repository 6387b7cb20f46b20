"""MMT, K = 4 blocks, L = 4 bottleneck tokens, VGGSound, with the audio-video contrastive loss ("+AVC").

Train: tools/dist_train.sh configs/mmt/mmt_k4_l4_avc_vggsound.py 8
Expected: top-1 64.9 (paper, Table 3, +AVC); not yet run here. Hardware: 8 GPUs of 40 GB.
"""

_base_ = ['./mmt_k4_l4_vggsound.py', '../_base_/variants.py']
model = _base_.pop('variants').avc
