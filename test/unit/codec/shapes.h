// SPDX-License-Identifier: MIT
// Texts of the shape schemas' messages, for tests: with all fields of version 1, and what versions 2 and 3 append.
#ifndef TARE_TEST_SHAPES_H
#define TARE_TEST_SHAPES_H

#define SHAPE_POINT(x) "{\"x\":" #x ",\"y\":-2,\"good\":false,\"colour\":\"red\"}"
#define SHAPE_PAIR                                                                                                     \
	"{\"from\":" SHAPE_POINT(1) ",\"to\":" SHAPE_POINT(                                                            \
	    2) ",\"weights\":[0.5,1e-30],\"flags\":[true,false,true],\"colours\":[\"green\",\"blue\"]}"
#define SHAPE_PLAIN "{\"a\":513,\"b\":18446744073709551615}"

#define SHAPE_FIELDS_1                                                                                                 \
	"\"a_u8\":1,\"a_u16\":2,\"a_u32\":3,\"a_u64\":4,\"a_i8\":-1,\"a_i16\":-2,\"a_i32\":-3,\"a_i64\":-4,"           \
	"\"a_f32\":0.25,\"a_f64\":0.1,\"yes\":false,\"colour\":\"blue\",\"bytes8\":[1,2,3,4,5,6,7,255],"               \
	"\"numbers\":[-1,0,32767],\"name\":\"a name\",\"title\":\"T\\u00e4re \\ud83d\\ude00 \\\"q\\\\\\n\","           \
	"\"raw\":\"AAECAwQ=\",\"pair\":" SHAPE_PAIR ",\"outer\":{\"name\":\"outer\",\"label\":{\"text\":\"in it\","    \
	"\"raw\":\"/+8=\",\"points\":[" SHAPE_POINT(5) "," SHAPE_POINT(6) "],\"at\":" SHAPE_POINT(                     \
	    7) ",\"thing\":{\"plain\":" SHAPE_PLAIN                                                                    \
	       "}},\"depth\":4},\"thing\":{\"point\":" SHAPE_POINT(                                                    \
		   8) "},\"pairs\":[" SHAPE_PAIR "," SHAPE_PAIR "],\"plains\":[" SHAPE_PLAIN "],\"words\":[1,65535],"  \
		      "\"reals\":[1.5,-0,2e-300],\"colours\":[\"red\","                                                \
		      "\"blue\"],\"switches\":[true,false],\"last\":\"end\""
#define SHAPE_FIELDS_2 ",\"more\":5,\"note\":\"noted\",\"tint\":\"green\""
#define SHAPE_FIELDS_3                                                                                                 \
	",\"extra\":" SHAPE_PLAIN ",\"things\":[" SHAPE_POINT(9) "],\"other\":{\"large\":" SHAPE_PAIR "},\"tail\":1"

static const char *const shape_texts[] = {"{" SHAPE_FIELDS_1 "}", "{" SHAPE_FIELDS_1 SHAPE_FIELDS_2 "}",
					  "{" SHAPE_FIELDS_1 SHAPE_FIELDS_2 SHAPE_FIELDS_3 "}"};

#endif
