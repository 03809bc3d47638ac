/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * repair.h - right checksums for wrong bytes.  Random bytes end at the first
 * checksum; whoever means harm computes it.  Each function takes a whole file
 * in memory, of any bytes and length, and lets its sums be right.
 */
#ifndef REPAIR_H
#define REPAIR_H

#include <stddef.h>
#include <stdint.h>

/* Magic and sum of a segment's header, and the sum of its link. */
void repair_segment_head(uint8_t *p, size_t len);

/* Both sums of each record as long as one follows another, and the header
 * sum of the one that does not fit any more. */
void repair_segment_records(uint8_t *p, size_t len);

/* All blocks of a hint. */
void repair_hint_blocks(uint8_t *p, size_t len);

/* Magic and sum of a hint's header: the last step. */
void repair_hint_head(uint8_t *p, size_t len);

/* The end note of kvlog.lock. */
void repair_note(uint8_t *p, size_t len);

#endif
