"""Polynomials of the error function, of which every backend makes its own code.

For magnitudes a up to 1, ``erf(a) = a + a * near(a * a)``. Above, up to a limit where it is 1 after
rounding, ``erf(a) = 1 - e^-far(a - 1)``: far is the negative logarithm of the complementary error
function, whose errors weigh the less the nearer the result is to 1. Both were fitted to 40 digits
by least squares at 120 Chebyshev nodes, far with errors weighted by ``1 - erf(a)``; they are off by
less than a twentieth of a unit in the last place of the result.
"""

from __future__ import annotations

ERF_NEAR = {
    "float32": (
        7.8824971100866635674e-05,
        -8.0188549927863869635e-04,
        5.1893119426866176811e-03,
        -2.6854328796067244337e-02,
        1.1283597463488053138e-01,
        -3.7612626903580438327e-01,
        1.2837916588150263327e-01,
    ),
    "float64": (
        -7.7985438505499469037e-10,
        1.3721520406351094437e-08,
        -1.6208829856810200783e-07,
        1.6447471190594618058e-06,
        -1.4924740785377575036e-05,
        1.2055295112667001076e-04,
        -8.5483259825432250569e-04,
        5.2239776072699452863e-03,
        -2.6866170643256994332e-02,
        1.1283791670945129749e-01,
        -3.7612638903183543533e-01,
        1.2837916709551256666e-01,
    ),
}
"""Coefficients by dtype, the highest first."""

ERF_FAR = {
    "float32": (
        -1.8655170959908640508e-04,
        1.8296356919530474970e-03,
        -9.8952530116982775582e-03,
        4.1503053475805081872e-02,
        8.4311779747649799321e-01,
        2.6389668572582581543e00,
        1.8496055160142289239e00,
    ),
    "float64": (
        -1.6896359034429280823e-11,
        3.5266305440011131878e-10,
        -3.1117952514987916367e-09,
        1.3387189060560061993e-08,
        -6.3335876128197583167e-09,
        -3.0077806962287598534e-07,
        2.2618741717055574614e-06,
        -9.8001413011906344567e-06,
        2.7291927307357773560e-05,
        -2.6344569140522587870e-05,
        -2.3729884094834198622e-04,
        1.9778968635633093745e-03,
        -1.0033824487107111201e-02,
        4.1561097960080687469e-02,
        8.4310725636253765386e-01,
        2.6389675142347180188e00,
        1.8496055099332484623e00,
    ),
}
"""Coefficients by dtype, the highest first."""

ERF_IS_ONE = {"float32": 4.0, "float64": 6.0}
"""From here on the error function is 1, rounded, by dtype."""
