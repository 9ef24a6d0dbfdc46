"""The blocks of the body and of the modality nets, written as the paper describes them; what is fast is in `kernels/`.

Shapes, the same letters everywhere:
  B  batch: rows (sequences or pictures)      d  features in, of the body hidden_size
  T  positions of the sequence at hand        f  filters, or features out where they differ from d
  S  positions of the encoded inputs          h  attention heads; c = d / h features of a head
  H, W  height and width of a picture         k  kernel size
  N  tokens: B·T                              E  experts; K of them are chosen for each token
A padding_mask is 1 where there is something and 0 at padding: [B, T], or [B, T, 1] and [B, H, 1, 1] for convolutions.
While decoding one position at a time an x is [B, d], where B counts every hypothesis of a beam.
"""
