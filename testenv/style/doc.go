// Command style holds the tree to the rules of style that a machine can see, as a part of make lint:
//
//	go run ./testenv/style            # the whole tree and the commits of this branch
//	go run ./testenv/style engine/rtp # one directory and all below it
//
// Each finding is one line: the place, the words found, and the rule. The rules:
//
//   - Functions have at most 60 lines. The tables of a test, that is its composite literals, do not count.
//   - Structs have at most 20 fields. Fields named _ do not count.
//   - Lines have at most 120 columns, a tab being four. Tables and code blocks of Markdown are exempt.
//   - No declaration shadows a builtin, a package that the file imports, or the receiver of its method.
//   - Exported functions take no bool.
//   - Sentences have at most 25 words and none of the phrases that prose.go lists.
//   - Commit subjects are "area: words" in at most 72 characters.
//
// Generated files, testdata and results of measurements are exempt. Prose means comments, Markdown, and those string
// literals that read as sentences.
package main
