/* The angle of a vector, to the last bit the same with every C library. */
#ifndef BS_POSE_ARCTANGENT_H
#define BS_POSE_ARCTANGENT_H

/* The angle of (x, y) in radians, [-pi, pi]; y and x finite (of others, no number or any). It is atan2f as the C
 * library has it with which MediaPipe's golden landmarks were made: glibc before 2.41 on x86-64. Newer ones and other
 * libraries round the last bit otherwise, and the angle of a crop carries that into every pixel that is sampled, and by
 * tracking into the frames that follow. Pure; any thread. */
float bs_atan2f(float y, float x);

#endif
