;; A canary as an Extism plugin: it asks one query of its host, and hands the answer back.
(module
  (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
  (import "extism:host/env" "store_u8" (func $store_u8 (param i64 i32)))
  (import "extism:host/env" "length" (func $length (param i64) (result i64)))
  (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
  (import "extism:host/user" "query" (func $query (param i64) (result i64)))
  (memory (export "memory") 1)
  (data (i32.const 0) "SELECT COUNT(DISTINCT game_id), COUNT(*), COUNT(*) - COUNT(player_name), COUNT(*) - COUNT(team_abbr) FROM nba_raw.nbac_player_boxscore WHERE game_date = '2026-02-05'")
  (global $size i32 (i32.const 165))
  (func (export "check") (result i32)
    (local $text i64) (local $at i32) (local $answer i64)
    (local.set $text (call $alloc (i64.extend_i32_u (global.get $size))))
    (loop $copy
      (call $store_u8
        (i64.add (local.get $text) (i64.extend_i32_u (local.get $at)))
        (i32.load8_u (local.get $at)))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (br_if $copy (i32.lt_u (local.get $at) (global.get $size))))
    (local.set $answer (call $query (local.get $text)))
    (call $output_set (local.get $answer) (call $length (local.get $answer)))
    (i32.const 0)))
