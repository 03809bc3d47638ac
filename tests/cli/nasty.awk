# SPDX-License-Identifier: BSD-2-Clause
#
# nasty.awk - print lines for kvlog load whose records are hard on formats,
# in byte order of the escaped text.  With -v long=1 also keys longer than the
# 511 bytes that LMDB takes.

function repeat(text, count,    all)
{
	all = ""
	while (count-- > 0)
		all = all text
	return all
}

BEGIN {
	# Each byte alone, and between others.
	for (i = 0; i < 256; i++) {
		printf "\\x%02x\tonly\\x%02x\n", i, 255 - i
		printf "\\x%02xa\t\\x%02x\n", i, i
		printf "b\\x%02xc\tx\\x%02xy\\x%02x\\x%02x\n", i, i, i, i
	}
	# What the formats themselves are made of.
	split("VERSION=3|HEADER=END|DATA=END| DATA=END|format=print|" \
	    "type=btree|mapsize=1|database=x|{}|{\"key\":\"a\"}|\"|" \
	    "key_base64|=|==|AAAA|\\\\|\\\\\\\\|\\\\n|\\\\00|\\\\x41|\\\\5c|" \
	    "\\\\u0041|\\\\xff\\\\| | x|x | x |\\ttab|\\n|\\r|\\r\\n|x\\r|" \
	    "\\t|\\t\\t|ABCDEF|abcdef|0123|\\xef\\xbb\\xbfmark", words, "|")
	for (i = 1; i in words; i++) {
		print words[i] "\t" words[i]
		print words[i] "again\tx" words[i]
		print "again" words[i] "\t" words[i] words[i]
	}
	# UTF-8: whole, overlong, a surrogate, too high, cut off.
	print "caf\\xc3\\xa9\t\\xe6\\x97\\xa5\\xf0\\x9d\\x84\\x9e"
	print "overlong\\xc0\\xaf\t\\xe0\\x80\\xaf"
	print "surrogate\\xed\\xa0\\x80\t\\xed\\xbf\\xbf"
	print "too high\\xf4\\x90\\x80\\x80\t\\xf7"
	print "cut off\\xe6\\x97\t\\xf0\\x9d\\x84"
	print "noncharacter\\xef\\xbf\\xbe\t\\xf4\\x8f\\xbf\\xbf"
	# Lengths.
	print "empty\t"
	print repeat("k", 511) "\tlongest key of LMDB"
	for (i = 1; i < 10; i++)
		print "length" i "\t" repeat("\\xfe", i)
	print "large\t" repeat("0123456789abcdef", 20000)
	print "large binary\t" repeat("\\x00\\xff\\n\\\\", 20000)
	if (long) {
		print repeat("k", 512) "\tlonger than LMDB takes"
		print repeat("\\xff", 65535) "\tlongest key"
	}
}
