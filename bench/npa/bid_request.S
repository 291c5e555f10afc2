// SPDX-License-Identifier: MIT
// The bid request of bench/messages as JSON, in the program itself: `tare npa` runs it wherever it is installed.
	.section .rodata
	.globl rows_bid_request, rows_bid_request_end
	.hidden rows_bid_request, rows_bid_request_end
rows_bid_request:
	.incbin "bench/messages/bid_request.json"
rows_bid_request_end:
	.byte 0

	.section .note.GNU-stack, "", %progbits
