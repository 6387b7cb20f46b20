from mmav.tables import csv_bytes, text_table


def test_columns_are_aligned():
    assert text_table([['a', 'bb'], ['ccc', 'd']]) == 'a    bb\nccc   d'
    assert text_table([['a', 'bb'], ['ccc', 'd']], left=2) == 'a    bb\nccc  d'


def test_csv():
    assert csv_bytes([['path', 'label'], ['é.mp4', 'dog, barking']]) == 'path,label\né.mp4,"dog, barking"\n'.encode()
