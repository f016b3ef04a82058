SELECT 'a\n\x41\u00e4', "it's", r'\d', r"""a'b""", b'\xff', '''x
y''', DATE '2026-02-05', JSON '{"a": [1]}', INTERVAL 7 DAY, 0xFF, -1, .5, TRUE, NULL, [1, 2], STRUCT(1 AS a, (1, 2))
