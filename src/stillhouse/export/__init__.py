"""What a trained student becomes for those who use it: one folder, without torch, without this library.

`stillhouse.export.embedding.export_embedder` writes the folder, `stillhouse.export.numpy_embedder.NumpyEmbedder` and
`stillhouse.export.numpy_text.NumpyTextEmbedder` read one with numpy. Nothing in this package imports torch.
"""
